/**
 * What a KubeConfig of @kubernetes/client-node says of its current context, in the words of a dialer. It is only read
 * here: nothing of it is changed, and nothing is dialled. A value that cannot be used is an error that says what to do.
 */
import { optionError } from '../errors.ts'
import type { MultidialerOptions } from '../multidialer.ts'

/** As much of client-node's Cluster as is used; alike in 1.x and 2.x. */
export interface ClusterLike {
  readonly name: string
  readonly server: string
  readonly caData?: string | null | undefined
  readonly caFile?: string | null | undefined
  readonly skipTLSVerify?: boolean | null | undefined
  readonly tlsServerName?: string | null | undefined
  readonly proxyUrl?: string | null | undefined
}

/** As much of client-node's User as is used. */
export interface UserLike {
  readonly name: string
  readonly certData?: string | null | undefined
  readonly certFile?: string | null | undefined
  readonly keyData?: string | null | undefined
  readonly keyFile?: string | null | undefined
  readonly token?: string | null | undefined
  readonly exec?: unknown
  readonly authProvider?: unknown
}

/** What client-node fills in for a request: of `https.RequestOptions`, what is of interest here. */
export interface AppliedOptions {
  headers?: unknown
  auth?: unknown
  agent?: unknown
  ca?: unknown
  cert?: unknown
  key?: unknown
}

/** The public methods of a KubeConfig that are used. */
export interface KubeConfigLike {
  getCurrentCluster(): ClusterLike | null
  getCurrentUser(): UserLike | null
  applyToHTTPSOptions(options: object): Promise<void>
  applySecurityAuthentication(context: object): Promise<void>
}

export interface Context {
  readonly cluster: ClusterLike
  readonly user: UserLike | null
}

/** Values of certificates that may be others the next time. */
export interface CertificateData {
  ca?: Buffer | string
  cert?: Buffer | string
  key?: Buffer | string
}

/** @throws TypeError with code ERR_INVALID_ARG_VALUE where there is nothing to dial */
export function contextOf(kubeConfig: KubeConfigLike): Context {
  const cluster = kubeConfig.getCurrentCluster()
  if (cluster === null || cluster === undefined || typeof cluster.server !== 'string') {
    throw optionError('The KubeConfig has no current cluster: load it first (loadFromDefault(), loadFromCluster(), ' +
      '...), and name a context of it by setCurrentContext()')
  }
  if (!/^https:\/\//i.test(cluster.server)) {
    throw optionError(`The cluster '${cluster.name}' of the KubeConfig has a server that is not https: ` +
      "withMultidialer() needs an apiserver's own address, 'https://host:port'. A plain-text proxy on this machine " +
      'needs no dialer: use the KubeConfig as it is')
  }
  if (!/^https:\/\/[^/?#]+\/?$/i.test(cluster.server)) {
    throw optionError(`The cluster '${cluster.name}' of the KubeConfig has a server with a path, which is a ` +
      "gateway's: the apiservers behind it do not serve that path. Give it an apiserver's own address, " +
      "'https://host:port', or use the KubeConfig as it is")
  }
  return { cluster, user: kubeConfig.getCurrentUser() ?? null }
}

/** What makes a context the same one as before: all that was made part of the dialer, and who the user is. */
export function identityOfContext({ cluster, user }: Context): string {
  const { name, server, tlsServerName, skipTLSVerify, proxyUrl } = cluster
  return JSON.stringify([name, server, tlsServerName ?? '', skipTLSVerify === true, proxyUrl ?? '', user?.name ?? ''])
}

/** Where the apiservers are, and how they are verified. Files are named, not read: the dialer follows them. */
export function dialerOptionsOf({ cluster, user }: Context): MultidialerOptions {
  return {
    server: cluster.server,
    ...(cluster.tlsServerName ? { servername: cluster.tlsServerName } : {}),
    ...(cluster.skipTLSVerify === true ? { rejectUnauthorized: false } : {}),
    ...(cluster.caFile ? { caFile: cluster.caFile } : {}),
    ...(user?.certFile ? { certFile: user.certFile } : {}),
    ...(user?.keyFile ? { keyFile: user.keyFile } : {}),
    ...certificateDataOf({ cluster, user }),
  }
}

/** What is in the KubeConfig itself; a file wins over it, as it does in client-node. */
export function certificateDataOf({ cluster, user }: Context): CertificateData {
  return {
    ...(cluster.caData && !cluster.caFile ? { ca: Buffer.from(cluster.caData, 'base64') } : {}),
    ...(user?.certData && !user.certFile ? { cert: Buffer.from(user.certData, 'base64') } : {}),
    ...(user?.keyData && !user.keyFile ? { key: Buffer.from(user.keyData, 'base64') } : {}),
  }
}

/** Whether a plugin may give the user a token or a certificate, so that it must be asked. */
export function hasPlugin(user: UserLike | null): boolean {
  return Boolean(user?.exec) || Boolean(user?.authProvider)
}

/** Whether the user may have a bearer token; one with a certificate alone has none. */
export function mayHaveToken(user: UserLike | null): boolean {
  return hasPlugin(user) || Boolean(user?.token)
}

/** The certificate that a plugin gave, among what client-node applied. */
export function pluginCertificateOf(applied: AppliedOptions, { user }: Context): CertificateData {
  if (!hasPlugin(user)) return {}
  const { cert, key } = applied
  return {
    ...(isPEM(cert) && !user?.certFile ? { cert } : {}),
    ...(isPEM(key) && !user?.keyFile ? { key } : {}),
  }
}

/** The bearer token among the headers that client-node applied. */
export function bearerOf({ headers }: AppliedOptions): string | undefined {
  if (typeof headers !== 'object' || headers === null) return undefined
  const [, value] = Object.entries(headers).find(([name]) => name.toLowerCase() === 'authorization') ?? []
  return typeof value === 'string' ? /^Bearer\s+(\S+)\s*$/i.exec(value)?.[1] : undefined
}

function isPEM(value: unknown): value is Buffer | string {
  return (typeof value === 'string' && value !== '') || Buffer.isBuffer(value)
}
