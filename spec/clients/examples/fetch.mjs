import { readFile } from 'node:fs/promises'
import { Agent, fetch } from 'undici'
import { Multidialer } from 'kube-multidialer'
import { undiciConnector } from 'kube-multidialer/undici'

const { APISERVER, CA_FILE, TOKEN_FILE } = process.env
const dialer = new Multidialer({ server: APISERVER, caFile: CA_FILE, tokenFile: TOKEN_FILE })
const dispatcher = new Agent({ connect: undiciConnector(dialer) })

const headers = { authorization: `Bearer ${(await readFile(TOKEN_FILE, 'utf8')).trim()}` }
const response = await fetch(`${APISERVER}/version`, { dispatcher, headers })
console.log(response.status, (await response.json()).gitVersion)
