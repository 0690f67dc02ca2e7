/**
 * Apiservers that can be made to refuse: each is started again on its host's loopback, behind the front of
 * refusing-front.ts, which has its address and its certificate. They are listed as before, and stay so until their
 * cluster is stopped.
 */
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { ApiServer, Cluster } from './cluster.ts'
import { Daemon } from './processes.ts'

const program = fileURLToPath(new URL('refusing-front.ts', import.meta.url))

export class RefusingFronts {
  readonly #fronts: ReadonlyMap<ApiServer, Daemon>

  private constructor(fronts: ReadonlyMap<ApiServer, Daemon>) {
    this.#fronts = fronts
  }

  /** Resolves when every server is ready behind its front, and listed. */
  static async start(cluster: Cluster): Promise<RefusingFronts> {
    const fronts = await Promise.all(cluster.servers.map(async (server): Promise<[ApiServer, Daemon]> => {
      await server.kill()
      const { certFile, keyFile } = await cluster.servingCertificate(server.host)
      const log = join(cluster.folder, `${server.namespace}.front.log`)
      const front = await Daemon.spawn(server.namespace, log, [
        process.execPath, ...process.execArgv, program, server.host, certFile, keyFile, String(server.port),
      ])
      await server.start('own', ['--bind-address=127.0.0.1'])
      return [server, front]
    }))
    await cluster.waitForEndpoints()
    return new RefusingFronts(new Map(fronts))
  }

  /** From now on it answers 503 to everything, on open connections too, until `serve()`. */
  refuse(server: ApiServer): void {
    this.#fronts.get(server)?.signal('SIGUSR2')
  }

  serve(server: ApiServer): void {
    this.#fronts.get(server)?.signal('SIGHUP')
  }
}
