/** KubeConfig files as users have them: every kind of credential, and plugins that are programs. */
import { chmodSync, readFileSync, writeFileSync } from 'node:fs'
import https from 'node:https'
import { join } from 'node:path'
import { certificateFile } from '../support/control-plane.ts'
import type { ControlPlane } from '../support/control-plane.ts'

/** What a KubeConfig may hold, by its name: parts of the cluster and the user. */
export type Kinds = Readonly<Record<string, { readonly cluster?: object; readonly user: object }>>

/** A folder for KubeConfig files and plugins. */
export class KubeConfigs {
  readonly #plane: ControlPlane
  readonly #folder: string
  #plugins = 0

  constructor(plane: ControlPlane, folder: string) {
    this.#plane = plane
    this.#folder = folder
  }

  get kinds(): Kinds {
    const { token, tokenFile } = this.#plane
    return {
      token: { user: { token } },
      'token-file': { user: { 'auth-provider': { name: 'tokenFile', config: { tokenFile } } } },
      certificate: { user: {
        'client-certificate': certificateFile('client-a.crt'), 'client-key': certificateFile('client-a.key'),
      } },
      'certificate data': { user: {
        'client-certificate-data': readFileSync(certificateFile('client-a.crt'), 'base64'),
        'client-key-data': readFileSync(certificateFile('client-a.key'), 'base64'),
      } },
      'exec, a token': { user: { exec: this.plugin({ token }) } },
      'exec, a certificate': { user: { exec: this.plugin({
        clientCertificateData: readFileSync(certificateFile('client-b.crt'), 'utf8'),
        clientKeyData: readFileSync(certificateFile('client-b.key'), 'utf8'),
      }) } },
      'tls-server-name': { cluster: { 'tls-server-name': 'kubernetes.default.svc' }, user: { token } },
      skipTLSVerify: {
        cluster: { 'certificate-authority': undefined, 'insecure-skip-tls-verify': true }, user: { token },
      },
    }
  }

  /** Writes one as a file. */
  write({ cluster, user }: Kinds[string]): string {
    const file = join(this.#folder, 'kubeconfig')
    const { servers, caFile } = this.#plane
    writeFileSync(file, JSON.stringify({
      apiVersion: 'v1', kind: 'Config', 'current-context': 'c',
      clusters: [{ name: 'c', cluster: { server: servers[0]?.url, 'certificate-authority': caFile, ...cluster } }],
      users: [{ name: 'u', user }], contexts: [{ name: 'c', context: { cluster: 'c', user: 'u' } }],
    }))
    return file
  }

  /** A plugin of the user's, as a program; each run of it adds a line to the log. */
  plugin(status: object, log = '/dev/null'): { apiVersion: string; command: string } {
    this.#plugins += 1
    const program = join(this.#folder, `plugin-${this.#plugins}`)
    const credential = { kind: 'ExecCredential', apiVersion: 'client.authentication.k8s.io/v1', status }
    writeFileSync(program, `#!/bin/sh\necho run >> '${log}'\ncat <<'END'\n${JSON.stringify(credential)}\nEND\n`)
    chmodSync(program, 0o700)
    return { apiVersion: 'client.authentication.k8s.io/v1', command: program }
  }
}

export function statusOf(url: string, options: https.RequestOptions): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    https.get(url, options, (response) => {
      response.resume().on('end', () => resolve(response.statusCode))
    }).on('error', reject)
  })
}

/** Requests as programs make them that take certificates out of the options that were filled in for them. */
export function waysOf(options: https.RequestOptions): https.RequestOptions[] {
  const { agent, ca, headers } = options
  if (!(agent instanceof https.Agent) || ca === undefined || headers === undefined) throw new Error('not filled in')
  return [
    options, { headers, agent: new https.Agent({ ca }) }, { headers, agent: new https.Agent({ ...agent.options }) },
    { headers, ca: agent.options.ca },
  ]
}
