/**
 * Certificates as kubeadm makes them: a CA, for each apiserver a certificate with its own IP and the names of the
 * `kubernetes` service, and of its control-plane endpoint if it has one; client certificates, and service account keys.
 * Besides, those that no cluster should have, to be refused. All are made anew by openssl, in the folder of a cluster,
 * and go away with it.
 */
import { execFile } from 'node:child_process'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)
/** As kubeadm's are by default: with them a handshake fills packets, which a path with a broken MTU loses. */
const key = ['-newkey', 'rsa:2048', '-nodes']
const serviceNames = [
  'kubernetes', 'kubernetes.default', 'kubernetes.default.svc', 'kubernetes.default.svc.cluster.local',
]
const serviceIp = '10.96.0.1'

/**
 * `own`: the server's own IP and the service's names, like kubeadm. `ipOnly`, `namesOnly`: one half of that.
 * `otherName`: a name that is nobody's. `otherCa`: right, but by an unrelated CA. `expired`: right, but years ago.
 */
export type CertificateKind = 'own' | 'ipOnly' | 'namesOnly' | 'otherName' | 'otherCa' | 'expired'

export interface KeyPair {
  readonly certFile: string
  readonly keyFile: string
}

export class Certificates {
  readonly caFile: string
  readonly wrongCaFile: string
  readonly admin: KeyPair
  readonly serviceAccountKeyFile: string
  readonly #folder: string
  readonly #ca: KeyPair
  readonly #wrongCa: KeyPair
  readonly #endpoint: string | undefined
  readonly #made = new Map<string, Promise<KeyPair>>()

  private constructor(folder: string, endpoint: string | undefined) {
    this.#folder = folder
    this.#endpoint = endpoint
    this.#ca = this.#pair('ca')
    this.#wrongCa = this.#pair('wrong-ca')
    this.admin = this.#pair('admin')
    this.caFile = this.#ca.certFile
    this.wrongCaFile = this.#wrongCa.certFile
    this.serviceAccountKeyFile = join(folder, 'service-account.key')
  }

  /** `endpoint` is the IP address of the control-plane endpoint, which every server proves too. */
  static async create(folder: string, endpoint?: string): Promise<Certificates> {
    await mkdir(folder, { recursive: true })
    const made = new Certificates(folder, endpoint)
    await Promise.all([
      makeCa(made.#ca, 'kubernetes'),
      makeCa(made.#wrongCa, 'someone-else'),
      run('openssl', ['ecparam', '-name', 'prime256v1', '-genkey', '-noout', '-out', made.serviceAccountKeyFile]),
    ])
    await made.#issueClient(made.admin, 'kubernetes-admin')
    return made
  }

  /** A new client certificate of the group system:masters; its name is the user's. */
  async client(name: string): Promise<KeyPair> {
    const pair = this.#pair(name)
    await this.#issueClient(pair, name)
    return pair
  }

  /** A serving certificate for a host, made when first asked for. */
  server(address: string, kind: CertificateKind): Promise<KeyPair> {
    const name = `${address}-${kind}`
    const made = this.#made.get(name) ?? this.#serve(this.#pair(name), address, kind)
    this.#made.set(name, made)
    return made
  }

  #issueClient(pair: KeyPair, name: string): Promise<void> {
    return issue(pair, this.#ca, `/O=system:masters/CN=${name}`, ['extendedKeyUsage=clientAuth'])
  }

  async #serve(pair: KeyPair, address: string, kind: CertificateKind): Promise<KeyPair> {
    const addresses = [address, serviceIp, ...(this.#endpoint === undefined ? [] : [this.#endpoint])]
    const extensions = [`subjectAltName=${subjectAltNames(addresses, kind).join(',')}`, 'extendedKeyUsage=serverAuth']
    const subject = '/CN=kube-apiserver'
    if (kind === 'expired') await issueExpired(this.#folder, pair, this.#ca, subject, extensions)
    else await issue(pair, kind === 'otherCa' ? this.#wrongCa : this.#ca, subject, extensions)
    return pair
  }

  #pair(name: string): KeyPair {
    return { certFile: join(this.#folder, `${name}.crt`), keyFile: join(this.#folder, `${name}.key`) }
  }
}

function subjectAltNames(addresses: readonly string[], kind: CertificateKind): string[] {
  const ips = addresses.map(address => `IP:${address}`)
  const names = serviceNames.map(name => `DNS:${name}`)
  switch (kind) {
    case 'own':
    case 'otherCa':
    case 'expired':
      return [...ips, ...names]
    case 'ipOnly':
      return ips
    case 'namesOnly':
      return names
    case 'otherName':
      return ['DNS:other.example']
  }
}

async function makeCa(pair: KeyPair, name: string): Promise<void> {
  const extensions = ['keyUsage=critical,digitalSignature,keyEncipherment,keyCertSign']
  await openssl(['req', '-x509', ...key, ...files(pair), '-subj', `/CN=${name}`, '-days', '3650'], extensions)
}

async function issue(pair: KeyPair, ca: KeyPair, subject: string, extensions: string[]): Promise<void> {
  const by = ['-CA', ca.certFile, '-CAkey', ca.keyFile]
  await openssl(['req', '-x509', ...by, ...key, ...files(pair), '-subj', subject, '-days', '365'], [
    'basicConstraints=critical,CA:FALSE',
    ...extensions,
  ])
}

/** Only `openssl ca` accepts dates in the past on every version, at the price of a configuration and a database. */
async function issueExpired(
  folder: string, pair: KeyPair, ca: KeyPair, subject: string, extensions: string[],
): Promise<void> {
  const at = (name: string): string => `${pair.keyFile}.${name}`
  const config = [
    '[ca]', 'default_ca=this', '[this]', `database=${at('index')}`, `new_certs_dir=${folder}`, `rand_serial=yes`,
    'default_md=sha256', 'policy=any', 'x509_extensions=leaf', '[any]', 'commonName=supplied', '[leaf]', ...extensions,
  ]
  await writeFile(at('cnf'), config.join('\n') + '\n')
  await writeFile(at('index'), '')
  await run('openssl', ['req', ...key, '-keyout', pair.keyFile, '-out', at('csr'), '-subj', subject])
  await run('openssl', [
    'ca', '-batch', '-notext', '-config', at('cnf'), '-cert', ca.certFile, '-keyfile', ca.keyFile,
    '-startdate', '20200101000000Z', '-enddate', '20210101000000Z', '-in', at('csr'), '-out', pair.certFile,
  ])
}

async function openssl(args: string[], extensions: string[]): Promise<void> {
  await run('openssl', [...args, ...extensions.flatMap(extension => ['-addext', extension])])
}

function files(pair: KeyPair): string[] {
  return ['-keyout', pair.keyFile, '-out', pair.certFile]
}
