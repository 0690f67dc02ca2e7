/**
 * The program of a front on an apiserver's own host: it ends TLS with the apiserver's certificate and passes requests
 * on, until SIGUSR2; from then on it answers 503 to everything, on kept connections too, until SIGHUP. So an apiserver
 * refuses that is listed and well. Arguments: its address, certificate, key, and the port of the apiserver on loopback.
 */
import { readFileSync } from 'node:fs'
import https from 'node:https'

const [, , host = '', certFile = '', keyFile = '', port = ''] = process.argv
let refuses = false
process.on('SIGUSR2', () => { refuses = true })
process.on('SIGHUP', () => { refuses = false })

const agent = new https.Agent({ keepAlive: true })
const server = https.createServer({ cert: readFileSync(certFile), key: readFileSync(keyFile) }, (request, response) => {
  if (refuses) {
    request.resume()
    response.writeHead(503).end('refused')
    return
  }
  const { method, url, headers } = request
  const passed = https.request({
    host: '127.0.0.1', port, method, path: url, headers, agent, rejectUnauthorized: false,
  }, answer => {
    response.writeHead(answer.statusCode ?? 502, answer.headers)
    response.flushHeaders()
    answer.pipe(response)
  })
  passed.on('error', () => response.destroy())
  response.on('close', () => passed.destroy())
  request.pipe(passed)
})
server.listen(Number(port), host)
