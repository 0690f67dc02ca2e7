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
  agent?: unknown
  ca?: unknown
  cert?: unknown
  key?: unknown
  pfx?: unknown
  passphrase?: unknown
  rejectUnauthorized?: unknown
  servername?: unknown
}

/** What 0.2x fills in for a request of the package `request`. */
export interface AppliedRequest extends AppliedOptions {
  pool?: unknown
}

/** The public methods of a KubeConfig that are used. 0.2x has `applyToRequest`, later ones the one before it. */
export interface KubeConfigLike {
  getCurrentCluster(): ClusterLike | null
  getCurrentUser(): UserLike | null
  applyToHTTPSOptions(options: object): Promise<void>
  applySecurityAuthentication?(context: object): Promise<void>
  applyToRequest?(options: object): Promise<void>
}

export interface Context {
  readonly cluster: ClusterLike
  readonly user: UserLike | null
}

/** All that a connection proves itself and its server with: a value for each, or the name of its file, or neither. */
export type CertificateOptions = Pick<MultidialerOptions, 'ca' | 'caFile' | 'cert' | 'certFile' | 'key' | 'keyFile'>

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

/**
 * What makes a context the one that a dialer is for: where its apiservers are and how they are verified, and the user's
 * name. What that user has is not part of it: the dialer is told when it is replaced.
 */
export function identityOfContext({ cluster, user }: Context): string {
  const { name, server, tlsServerName, skipTLSVerify, proxyUrl } = cluster
  return JSON.stringify([name, server, tlsServerName ?? '', skipTLSVerify === true, proxyUrl ?? '', user?.name ?? ''])
}

/** The current context, if it is the one with this identity: a dialer's connections are no other user's. */
export function sameContext(kubeConfig: KubeConfigLike, identity: string): Context | undefined {
  const cluster = kubeConfig.getCurrentCluster()
  if (cluster === null || cluster === undefined) return undefined
  const context = { cluster, user: kubeConfig.getCurrentUser() ?? null }
  return identityOfContext(context) === identity ? context : undefined
}

/** Where the apiservers are, and how they are verified. Files are named, not read: the dialer follows them. */
export function dialerOptionsOf({ cluster, user }: Context): MultidialerOptions {
  return {
    server: cluster.server,
    ...(cluster.tlsServerName ? { servername: cluster.tlsServerName } : {}),
    ...(cluster.skipTLSVerify === true ? { rejectUnauthorized: false } : {}),
    ...certificatesOf({ cluster, user }),
  }
}

/**
 * The complete set of what connections of this context prove themselves and their servers with (I5): what is not in it
 * is not to be used. A file wins over data, and what a plugin gave over both, as in client-node.
 *
 * @param applied what client-node filled in, where a plugin of the user's may have given some of it
 */
export function certificatesOf({ cluster, user }: Context, applied?: AppliedOptions): CertificateOptions {
  const authority = fileOrData(cluster.caFile, cluster.caData)
  const plugin = hasPlugin(user) ? applied : undefined
  const cert = plugin === undefined ? fileOrData(user?.certFile, user?.certData) : valueOf(plugin.cert)
  const key = plugin === undefined ? fileOrData(user?.keyFile, user?.keyData) : valueOf(plugin.key)
  return {
    ...(authority?.file === undefined ? {} : { caFile: authority.file }),
    ...(authority?.value === undefined ? {} : { ca: authority.value }),
    ...(cert?.file === undefined ? {} : { certFile: cert.file }),
    ...(cert?.value === undefined ? {} : { cert: cert.value }),
    ...(key?.file === undefined ? {} : { keyFile: key.file }),
    ...(key?.value === undefined ? {} : { key: key.value }),
  }
}

interface Given {
  readonly file?: string
  readonly value?: Buffer | string
}

function fileOrData(file: string | null | undefined, data: string | null | undefined): Given | undefined {
  if (file) return { file }
  return data ? { value: Buffer.from(data, 'base64') } : undefined
}

function valueOf(value: unknown): Given | undefined {
  return isPEM(value) ? { value } : undefined
}

/** Whether a plugin may give the user a token or a certificate, so that it must be asked. */
export function hasPlugin(user: UserLike | null): boolean {
  return Boolean(user?.exec) || Boolean(user?.authProvider)
}

/**
 * The KubeConfig as it is once its user's plugin has run: with what that gave in the plugin's place, so that it is not
 * run again.
 */
export function withoutPlugin(kubeConfig: KubeConfigLike, user: UserLike, applied: AppliedOptions): KubeConfigLike {
  const settled: UserLike = { ...user, exec: undefined, authProvider: undefined, token: bearerOf(applied) }
  const derived: KubeConfigLike = Object.create(kubeConfig, { getCurrentUser: { value: () => settled } })
  return derived
}

/** The bearer token among the headers that client-node applied. */
export function bearerOf(applied: AppliedOptions): string | undefined {
  const [, value] = headersOf(applied).find(([name]) => name.toLowerCase() === 'authorization') ?? []
  return typeof value === 'string' ? /^Bearer\s+(\S+)\s*$/i.exec(value)?.[1] : undefined
}

/** The headers that client-node applied: who the user is, and whom it impersonates. */
export function headersOf({ headers }: AppliedOptions): [name: string, value: unknown][] {
  return typeof headers === 'object' && headers !== null ? Object.entries(headers) : []
}

function isPEM(value: unknown): value is Buffer | string {
  return (typeof value === 'string' && value !== '') || Buffer.isBuffer(value)
}
