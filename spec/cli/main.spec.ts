/** The command line without a process: every mistake in it, what is said of it, and the exit status. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { main } from '../../lib/cli/main.ts'
import { painter, printable, table } from '../../lib/cli/text.ts'
import { at } from '../support/client.ts'
import { certificateFile, ControlPlane } from '../support/control-plane.ts'
import { HTTPProxy } from '../support/http-proxy.ts'

interface Run {
  readonly status: number
  readonly out: string
  readonly errors: string
}

interface Around {
  readonly input?: string
  readonly env?: Readonly<Record<string, string>>
  readonly isTerminal?: boolean
}

async function run(args: readonly string[], { input = '', env = {}, isTerminal = false }: Around = {}): Promise<Run> {
  let [out, errors] = ['', '']
  const status = await main(args, {
    print: (text) => { out += text },
    complain: (text) => { errors += text },
    isTerminal,
    env,
    readInput: () => input,
    onSignal: () => () => {},
  })
  return { status, out, errors }
}

const URL = 'https://127.0.0.1:1'

describe('the command line', () => {
  it('has a help that fits a screen, and a version', async () => {
    for (const args of [['--help'], ['-h'], ['check', '--help'], ['forward', '-h']]) {
      const { status, out, errors } = await run(args)
      assert.deepEqual([status, errors], [0, ''])
      const lines = out.trimEnd().split('\n')
      assert.ok(lines.length <= 24, `${lines.length} lines`)
      for (const line of lines) assert.ok(line.length <= 80, line)
      for (const flag of ['server', 'ca', 'token-file', 'cert', 'key', 'servername', 'proxy', 'kubeconfig', 'listen',
        'max-connections', 'json', 'timeout']) assert.ok(out.includes(`--${flag}`), flag)
    }
    assert.match((await run(['--version'])).out, /^\d+\.\d+\.\d+\n$/)
  })

  const missing = join(tmpdir(), 'kube-multidialer-spec-nothing')
  const mistakes: readonly (readonly [args: readonly string[], says: RegExp])[] = [
    [[], /a command is missing: check or forward/],
    [['chekc'], /'chekc' is no command/],
    [['check', 'now'], /'now' is too much/],
    [['check', '--wrong'], /Unknown option '--wrong'/],
    [['check', '--server'], /'--server <value>' argument missing/],
    [['check', '--json=yes', '--server', URL], /does not take an argument/],
    [['check', '--server', URL, '--listen', '127.0.0.1:0'], /--listen is for forward/],
    [['check', '--server', URL, '--max-connections', '1'], /--max-connections is for forward/],
    [['forward', '--server', URL, '--json'], /--json is for check/],
    [['forward', '--server', URL, '--timeout', '1'], /--timeout is for check/],
    [['check', '--server', URL, '--ca', missing, '--ca', missing], /--ca is given twice/],
    [['check', '--server', URL, '--timeout', 'soon'], /--timeout must be a whole number of milliseconds from 1/],
    [['check', '--server', URL, '--timeout', '0'], /--timeout must be a whole number/],
    [['check', '--server', URL, '--timeout=-5'], /--timeout must be a whole number/],
    [['forward', '--server', URL, '--listen', '6443'], /--listen must be 'host:port'/],
    [['forward', '--server', URL, '--listen', '127.0.0.1:70000'], /--listen must be 'host:port'/],
    [['forward', '--server', URL, '--listen', '::1:6443'], /--listen must be 'host:port'/],
    [['forward', '--server', URL, '--max-connections', '0'], /--max-connections must be a whole number of connections/],
    [['check', '--server', '127.0.0.1:6443'], /--server must be 'https:\/\/host:port'/],
    [['check', '--server', ''], /--server must be/],
    [['check', '--server', URL, '--server', 'http://127.0.0.2'], /--server must be/],
    [['check', '--server', 'https://127.0.0.1/path'], /--server must be/],
    [['check', '--server', URL, '--ca', missing], /--ca must be the path of a file that can be used: .*ENOENT/],
    [['check', '--server', URL, '--ca', ''], /--ca must be the path of a file/],
    [['check', '--server', URL, '--ca', certificateFile('server.key')], /--ca must hold certificates/],
    [['check', '--server', URL, '--token-file', missing], /--token-file must be the path of a file/],
    [['check', '--server', URL, '--cert', certificateFile('client-a.crt')], /--cert needs --key: /],
    [['check', '--server', URL, '--key', certificateFile('client-a.key')], /--key needs --cert: /],
    [['check', '--server', URL, '--cert', certificateFile('client-a.crt'), '--key', certificateFile('client-b.key')], /must fit/],
    [['check', '--server', URL, '--servername', 'a:6443'], /--servername must be a host name/],
    [['check', '--server', URL, '--proxy', 'proxy:3128'], /--proxy must be given a whole URL/],
    [['check', '--server', URL, '--proxy', 'socks5://proxy:1080'], /--proxy is for HTTP proxies/],
    [['check', '--ca', certificateFile('ca.crt')], /--ca needs --server/],
    [['check', '--kubeconfig', missing, '--server', URL], /--kubeconfig and --server exclude each other/],
    [['check', '--kubeconfig', missing, '--token-file', missing], /--kubeconfig and --token-file exclude each other/],
    [['check'], /--server or --kubeconfig must be given where this is not a pod/],
    [['forward'], /--server or --kubeconfig must be given where this is not a pod/],
  ]
  for (const [args, says] of mistakes) {
    it(`refuses '${args.join(' ')}'`, async () => {
      const { status, out, errors } = await run(args)
      assert.equal(status, 2, errors)
      assert.equal(out, '')
      assert.match(errors, says)
      assert.match(errors, /\nkube-multidialer --help shows what there is\n$/)
      assert.equal(errors.split('\n').length, 3)
    })
  }

  it('shows no secret that was given in the place of something else', async () => {
    const secret = 'eyJhbGciOiJSUzI1NiJ9.eyJjYW5hcnkiOiJjYW5hcnkifQ.c2lnbmF0dXJl'
    for (const flag of ['--server', '--ca', '--token-file', '--cert', '--key', '--servername', '--proxy', '--kubeconfig']) {
      const server = flag === '--server' || flag === '--kubeconfig' ? [] : ['--server', URL]
      const { status, errors } = await run(['check', ...server, flag, secret])
      assert.equal(status, 2)
      assert.ok(!errors.includes(secret.slice(0, 20)), errors)
    }
  })
})

describe('kube-multidialer check', () => {
  let plane: ControlPlane
  let folder: string
  let connection: string[]
  before(async () => {
    plane = await ControlPlane.start({ servers: 2 })
    folder = mkdtempSync(join(tmpdir(), 'kube-multidialer-spec-'))
    connection = ['--server', at(plane, 0).url, '--ca', plane.caFile, '--token-file', plane.tokenFile]
  })
  after(async () => {
    await plane.stop()
    rmSync(folder, { recursive: true, force: true })
  })

  it('prints a table, and its status is 0 where every loss is survived', async () => {
    const { status, out, errors } = await run(['check', ...connection])
    assert.deepEqual([status, errors], [0, ''])
    for (const { address } of plane.servers) assert.match(out, new RegExp(`^${address} .* yes +answer 200 .* days$`, 'm'))
    assert.match(out, new RegExp(`^without ${at(plane, 0).address} +served by +${at(plane, 1).address}$`, 'm'))
    assert.ok(!out.includes('\u001b'), 'colour, and no terminal')
  })

  it('has colour on a terminal, unless NO_COLOR is set', async () => {
    assert.match((await run(['check', ...connection], { isTerminal: true })).out, /\u001b\[32m/)
    assert.ok(!(await run(['check', ...connection], { isTerminal: true, env: { NO_COLOR: '1' } })).out.includes('\u001b'))
    assert.match((await run(['check', ...connection], { isTerminal: true, env: { NO_COLOR: '' } })).out, /\u001b\[32m/)
    assert.equal(painter(true, { TERM: 'dumb' })('text', 'bad'), 'text')
  })

  it('goes through a proxy, takes a name to prove, and a client certificate', async () => {
    const proxy = await HTTPProxy.start()
    try {
      assert.equal((await run(['check', ...connection, '--proxy', `http://127.0.0.1:${proxy.port}`])).status, 0)
      assert.ok(proxy.heads.length >= plane.servers.length)
    } finally {
      await proxy.stop()
    }
    assert.equal((await run(['check', ...connection, '--servername', 'kubernetes'])).status, 0)
    const { out, status } = await run(['check', ...connection, '--servername', 'other.test.example'])
    assert.equal(status, 2)
    assert.match(out, /Add the DNS name 'other\.test\.example'/)
    await Promise.all(plane.servers.map((server) => server.resetStats()))
    const pair = ['--cert', certificateFile('client-a.crt'), '--key', certificateFile('client-a.key')]
    assert.equal((await run(['check', ...connection, ...pair])).status, 0)
    assert.ok((await at(plane, 1).stats()).clients.length > 0, 'no client certificate was shown')
  })

  it('asks every server that is given, where there is no list', async () => {
    await plane.forbid('endpoints', 'endpointslices')
    const { out, status } = await run(['check', ...connection, '--server', at(plane, 1).url])
    await plane.forbid()
    assert.equal(status, 0)
    for (const { address } of plane.servers) assert.match(out, new RegExp(`^${address} +seed +- +answer 403`, 'm'))
  })

  it('gives JSON to machines', async () => {
    const { status, out } = await run(['check', '--json', ...connection])
    const check: unknown = JSON.parse(out)
    assert.equal(status, 0)
    assert.ok(typeof check === 'object' && check !== null && 'survives' in check && 'advice' in check)
  })

  it('its status is 1 where a loss is not survived, and it says whose, and what to do', async () => {
    await at(plane, 1).misbehave({ certificate: 'wrong-name' })
    const { status, out } = await run(['check', ...connection])
    await at(plane, 1).misbehave()
    assert.equal(status, 1)
    assert.match(out, new RegExp(`^without ${at(plane, 0).address} +NOBODY`, 'm'))
    assert.match(out, new RegExp(`^- ${at(plane, 1).address}: its certificate has no name that counts`, 'm'))
  })

  it('its status is 2 where nothing was reached, and it says why', async () => {
    const { status, out } = await run(['check', '--server', URL, '--ca', plane.caFile, '--timeout', '2000'])
    assert.equal(status, 2)
    assert.match(out, /ECONNREFUSED/)
    assert.match(out, /^- 127\.0\.0\.1:1: nothing listens there/m)
  })

  it('takes a kubeconfig in JSON, from a file and from standard input', async () => {
    const config = JSON.stringify({
      clusters: [{ name: 'c', cluster: { server: at(plane, 0).url, 'certificate-authority-data': Buffer.from(plane.ca).toString('base64') } }],
      users: [{ name: 'u', user: { token: plane.token } }],
      contexts: [{ name: 'x', context: { cluster: 'c', user: 'u' } }],
      'current-context': 'x',
    })
    const file = join(folder, 'config.json')
    writeFileSync(file, config)
    assert.equal((await run(['check', '--kubeconfig', file])).status, 0)
    assert.equal((await run(['check', '--kubeconfig', '-'], { input: config })).status, 0)
  })
})

describe('what is shown', () => {
  it('holds no order to the terminal, whoever wrote it', () => {
    assert.equal(printable('a\u001b[31mb\rc\nd\u009be\u202ef'), 'a?[31mb?c?d?e?f')
    assert.deepEqual(table([[{ text: 'a\u001b[2J' }, { text: 'b' }]], painter(false, {})), ['a?[2J  b'])
  })
})
