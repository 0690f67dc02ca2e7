import http2 from 'node:http2'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { text } from 'node:stream/consumers'
import { setTimeout } from 'node:timers/promises'
import { Multidialer } from 'kube-multidialer'

const { APISERVER, CA_FILE, TOKEN_FILE } = process.env
const dialer = new Multidialer({ server: APISERVER, caFile: CA_FILE, tokenFile: TOKEN_FILE })

let session
/** The session, or a new one when its endpoint was severed or has closed it. */
async function connected() {
  if (session && !session.closed && !session.destroyed) return session
  const socket = await dialer.connect({ ALPNProtocols: ['h2'] })
  session = http2.connect(APISERVER, { createConnection: () => socket })
  session.on('error', () => {})    // each of its streams fails with it
  return session
}

async function get(path) {
  const token = (await readFile(TOKEN_FILE, 'utf8')).trim()
  const stream = (await connected()).request({ ':path': path, authorization: `Bearer ${token}` })
  const [headers] = await once(stream, 'response')
  return { status: headers[':status'], body: JSON.parse(await text(stream)) }
}

for (;;) {
  try {
    const { status, body } = await get('/api/v1/namespaces/default/configmaps')
    console.log(status, body.items.length)
  } catch (error) {
    console.log(error.code)    // ECONNRESET: the endpoint stopped answering, and the next get() has another
  }
  await setTimeout(100)
}
