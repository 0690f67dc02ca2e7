/** Node's own two sockets and a pipe between them, and nothing else: what a pipe cannot do without. */
import net from 'node:net'

const [to] = process.argv.slice(2)
const server = net.createServer({ allowHalfOpen: true, noDelay: true }, (program) => {
  const apiserver = net.connect({ host: '127.0.0.1', port: Number(to), allowHalfOpen: true, noDelay: true })
  program.on('error', () => apiserver.destroy())
  apiserver.on('error', () => program.destroy())
  program.pipe(apiserver)
  apiserver.pipe(program)
}).listen({ host: '127.0.0.1', port: 0, backlog: 4_096 }, () => console.log(`forwarding from 127.0.0.1:${server.address().port}`))
