import https from 'node:https'
import { readFile } from 'node:fs/promises'
import { text } from 'node:stream/consumers'
import { MultidialerAgent } from 'kube-multidialer'

const { APISERVER, CA_FILE, TOKEN_FILE } = process.env    // https://10.0.0.1:6443, and what `kubectl config view` names
const agent = new MultidialerAgent({ server: APISERVER, caFile: CA_FILE, tokenFile: TOKEN_FILE, keepAlive: true })

const headers = { authorization: `Bearer ${(await readFile(TOKEN_FILE, 'utf8')).trim()}` }
https.get(`${APISERVER}/version`, { agent, headers }, async (response) => {
  console.log(response.statusCode, JSON.parse(await text(response)).gitVersion)
})
