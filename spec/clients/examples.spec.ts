/**
 * The programs of the README, each run as it is, as a process of its own, against servers that fail while it runs. A
 * Kubernetes client of 2.x and undici 8 need Node 22.19; on an older one fetch.mjs runs with undici 7.
 */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import https from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createServer } from 'node:net'
import { createInterface } from 'node:readline'
import { after, before, describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'
import type { ApiServer } from '../support/control-plane.ts'
import { ControlPlane } from '../support/control-plane.ts'
import { runsHere } from './clients.ts'
import { record } from './matrix.ts'

const LIMIT = { timeout: 90_000 }
const recent = runsHere({ needs: '22.19.0' })
const skip = recent ? false : 'client-node 2 needs Node 22.19'
const SELF = new URL('self.mjs', import.meta.url).href
const EXAMPLES = new URL('examples/', import.meta.url).href

let plane: ControlPlane
let folder: string
const awake = setInterval(() => {}, 60_000)
before(async () => {
  plane = await ControlPlane.start({ http2: true })
  folder = mkdtempSync(join(tmpdir(), 'examples-'))
  writeFileSync(join(folder, 'kubeconfig'), JSON.stringify({
    apiVersion: 'v1', kind: 'Config', 'current-context': 'c',
    clusters: [{ name: 'c', cluster: { server: plane.servers[0]?.url, 'certificate-authority': plane.caFile } }],
    users: [{ name: 'u', user: { token: plane.token } }],
    contexts: [{ name: 'c', context: { cluster: 'c', user: 'u' } }],
  }))
})
after(async () => {
  clearInterval(awake)
  await plane.stop()
  rmSync(folder, { recursive: true, force: true })
})

/** An example that runs: what it has printed, and how to wait for more. */
class Running {
  readonly lines: string[] = []
  readonly exited: Promise<unknown[]>
  readonly #child
  #seen: (() => void) | undefined

  /** @param beside an example that is loaded before it */
  constructor(name: string, env: Record<string, string | undefined>, beside?: string) {
    const { NODE_OPTIONS, NODE_TEST_CONTEXT, ...rest } = process.env
    this.#child = spawn(process.execPath, [
      '--import', 'tsx', '--import', SELF, ...(beside === undefined ? [] : ['--import', EXAMPLES + beside]),
      fileURLToPath(EXAMPLES + name),
    ], { env: { ...rest, ...env }, stdio: ['ignore', 'pipe', 'inherit'] })
    this.exited = once(this.#child, 'close')
    createInterface(this.#child.stdout).on('line', (line) => {
      this.lines.push(line)
      this.#seen?.()
    })
  }

  /** Resolves when a line has come that satisfies; rejects when the program has ended without one. */
  async until(satisfied: (line: string, index: number) => boolean): Promise<void> {
    while (!this.lines.some(satisfied)) {
      const ended = this.exited.then(() => { throw new Error(`ended without it, after ${this.lines.join(', ')}`) })
      await Promise.race([ended, new Promise<void>((resolve) => { this.#seen = resolve })])
    }
  }

  async end(): Promise<void> {
    this.#child.kill()
    await this.exited
  }
}

function envOf(): Record<string, string> {
  return {
    APISERVER: plane.servers[0]?.url ?? '', CA_FILE: plane.caFile, TOKEN_FILE: plane.tokenFile,
    KUBECONFIG: join(folder, 'kubeconfig'), UNDICI: recent ? 'undici-8' : 'undici-7',
  }
}

async function running(
  name: string, env: Record<string, string | undefined>, body: (program: Running) => Promise<void>,
): Promise<void> {
  const program = new Running(name, env)
  try {
    await body(program)
    record(`example ${name}`, 'runs', 'ok')
  } finally {
    await program.end()
  }
}

/** Creates a ConfigMap by a server that runs. */
async function create(name: string): Promise<void> {
  const server = plane.servers.find(({ state }) => state === 'running')
  const body = JSON.stringify({ metadata: { name } })
  const request = https.request(`${server?.url}/api/v1/namespaces/default/configmaps`, {
    method: 'POST', ca: plane.ca, agent: false,
    headers: { authorization: `Bearer ${plane.token}`, 'content-type': 'application/json' },
  })
  request.end(body)
  const [response] = await once(request, 'response')
  response.resume()
  assert.equal(response.statusCode, 201)
  await once(response, 'close')
}

/** The server that the watch is at. */
async function watched(): Promise<ApiServer> {
  for (;;) {
    for (const server of plane.servers) {
      if (server.state === 'running' && (await server.stats()).watches > 0) return server
    }
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

/** Kills, stops and compacts while `created` objects are made; each must be shown once. */
async function throughFaults(program: Running, prefix: string, shown: (name: string) => string): Promise<void> {
  let count = 0
  const created = async (): Promise<void> => {
    count += 1
    await create(`${prefix}-${count}`)
  }
  const caughtUp = (): Promise<void> => program.until((line) => line.startsWith(shown(`${prefix}-${count}`)))
  await created()
  await caughtUp()
  const first = await watched()
  await created()
  await first.kill()
  await created()
  await caughtUp()
  await first.restart()
  const second = await watched()
  await second.stop()
  await created()
  await created()
  await caughtUp()
  await second.cont()
  for (let i = 1; i <= count; i += 1) {
    const line = shown(`${prefix}-${i}`)
    assert.equal(program.lines.filter((one) => `${one} `.startsWith(`${line} `)).length, 1,
      `${line} once in ${program.lines.join(', ')}`)
  }
}

/** The server that has just been asked for the ConfigMaps, which is not the other one. */
async function listing(other?: ApiServer): Promise<ApiServer> {
  const asked = async (server: ApiServer): Promise<number> =>
    (await server.stats()).byPath['/api/v1/namespaces/default/configmaps'] ?? 0
  const servers = plane.servers.filter((server) => server !== other)
  const before = await Promise.all(servers.map(asked))
  for (;;) {
    for (const [index, server] of servers.entries()) if (await asked(server) > (before[index] ?? 0)) return server
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

/** Resolves when it has printed an answer after that many lines. */
function answersBeyond(program: Running, lines: number): Promise<void> {
  return program.until((line, index) => index >= lines && line.startsWith('200 '))
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  assert.ok(typeof address === 'object' && address !== null)
  server.close()
  await once(server, 'close')
  return address.port
}

/** What is measured of the dialers, by what follows kube_multidialer_ in its name. */
async function scraped(port: number): Promise<Map<string, number>> {
  const response = await fetch(`http://127.0.0.1:${port}/metrics`)
  const lines = (await response.text()).split('\n').filter((line) => line.startsWith('kube_multidialer_'))
  return new Map(lines.map((line): [string, number] => {
    const [name = '', value] = line.slice('kube_multidialer_'.length).split(' ')
    return [name, Number(value)]
  }))
}

describe('the examples of the README', () => {
  if (skip) for (const name of ['client-node.mjs', 'controller.mjs']) record(`example ${name}`, 'runs', skip)

  for (const name of ['request.mjs', 'fetch.mjs']) {
    it(`${name} prints the version`, LIMIT, () => running(name, envOf(), async (program) => {
      await program.until((line) => line === '200 v1.34.0')
      const [code] = await program.exited
      assert.equal(code, 0, 'it ends by itself')
    }))
  }

  it('in-cluster.mjs lists the pods from within one', LIMIT, async () => {
    const root = mkdtempSync(join(folder, 'serviceaccount-'))
    copyFileSync(plane.caFile, join(root, 'ca.crt'))
    copyFileSync(plane.tokenFile, join(root, 'token'))
    const [seed] = plane.servers
    const env = {
      KUBERNETES_SERVICE_HOST: seed?.host, KUBERNETES_SERVICE_PORT: String(seed?.port), SERVICE_ACCOUNT: root,
    }
    await running('in-cluster.mjs', env, async (program) => {
      await program.until((line) => line === 'echo')
      const [code] = await program.exited
      assert.equal(code, 0)
    })
  })

  it('http2.mjs has a new session when its endpoint is severed',
    LIMIT, () => running('http2.mjs', envOf(), async (program) => {
    await answersBeyond(program, 3)
    const used = await listing()
    await used.stop()
    await program.until((line) => line === 'ECONNRESET')
    await answersBeyond(program, program.lines.indexOf('ECONNRESET'))
    await used.cont()
  }))

  it('client-node.mjs: the informer goes on when the server in use is killed and stopped', { ...LIMIT, skip }, () =>
    running('client-node.mjs', envOf(), (program) => throughFaults(program, 'informed', (name) => `add ${name}`)))

  it('controller.mjs: no event is lost or doubled when the server in use is killed and stopped',
    { ...LIMIT, skip }, () =>
    running('controller.mjs', envOf(), (program) => throughFaults(program, 'controlled', (name) => `ADDED ${name}`)))

  it('prometheus.mjs: shows what a dialer in another program counted, failures too', LIMIT, async () => {
    const port = await freePort()
    const program = new Running('http2.mjs', { ...envOf(), METRICS_PORT: String(port) }, 'prometheus.mjs')
    try {
      await answersBeyond(program, 3)
      const stopped = await listing()
      await stopped.stop()
      await program.until((line) => line === 'ECONNRESET')
      await answersBeyond(program, program.lines.length)
      await stopped.cont()
      const killed = await listing(stopped)
      await killed.kill()
      let metrics = await scraped(port)
      // It tells of the server that was killed as soon as that has refused a dial, however soon that is.
      while (metrics.get('attempts_failed_total{kind="refused"}') === 0) metrics = await scraped(port)
      await answersBeyond(program, program.lines.length)
      await killed.restart()
      const kinds = [...metrics.keys()].filter((name) => name.startsWith('attempts_failed_total{'))
      assert.equal(kinds.length, 10, 'each kind is shown, whether it happened or not')
      assert.ok((metrics.get('attempts_failed_total{kind="refused"}') ?? 0) > 0)
      assert.equal(metrics.get('dials_failed_total'), 0, 'every dial was served')
      for (const name of ['dials', 'dials_made', 'dial_seconds', 'failovers', 'severed', 'heartbeats_failed']) {
        assert.ok((metrics.get(`${name}_total`) ?? 0) > 0, name)
      }
      assert.ok((metrics.get('heartbeats_total') ?? 0) > (metrics.get('heartbeats_failed_total') ?? 0))
      record('example prometheus.mjs', 'runs', 'ok')
    } finally {
      await program.end()
    }
  })

  it('controller.mjs: a version that is too old (410) is listed anew, and nothing is lost or doubled',
    { ...LIMIT, skip }, () =>
    running('controller.mjs', envOf(), async (program) => {
      await create('before')
      await program.until((line) => line.startsWith('ADDED before '))
      const server = await watched()
      await Promise.all(plane.servers.map((one) => one === server ? undefined : one.stop()))
      await create('during')
      await program.until((line) => line.startsWith('ADDED during '))
      await server.stop()
      await Promise.all(plane.servers.map((one) => one === server ? undefined : one.cont()))
      await create('unseen')
      plane.compact()
      await program.until((line) => line.startsWith('ADDED unseen '))
      await server.cont()
      for (const name of ['before', 'during', 'unseen']) {
        assert.equal(program.lines.filter((line) => line.startsWith(`ADDED ${name} `)).length, 1, name)
      }
      assert.ok(program.lines.every((line) => !line.startsWith('DELETED ')))
    }))
})
