/**
 * The sentences of a check: what keeps an endpoint from serving and what to do about it, and what is to be said of the
 * whole. Each says what was met, and then what to do.
 */
import { isIP } from '../address.ts'
import type { EndpointCheck, EndpointFacts, Facts, Probe, Survival } from './facts.ts'

export const DAY = 86_400_000

/** Certificates that end within this are worth a word: kubeadm's own are renewed once a year, by hand. */
const SOON = 30 * DAY
/** Clocks that differ by more make certificates and tokens begin too late, or end too early. */
const CLOCK = 60_000

type Problem = NonNullable<EndpointCheck['error']>

// ---- one endpoint

/** What keeps it from serving, or from telling the list; undefined where nothing does. */
export function problemOf(endpoint: EndpointFacts, unentitled: boolean): Problem | undefined {
  const { failure } = endpoint
  if (failure === undefined) return problemOfAnswer(endpoint, unentitled)
  const { code, message } = failure
  return { ...(code === undefined ? {} : { code }), message, advice: adviceOnFailure(endpoint, failure) }
}

function adviceOnFailure(endpoint: EndpointFacts, failure: NonNullable<Probe['failure']>): string {
  const { reached, origin } = endpoint
  if (failure.kind === 'local') {
    return 'this machine could not make the connection. Look at its limits (ulimit -n) and its memory.'
  }
  if (failure.code === 'ERR_MULTIDIALER_PROXY') {
    return 'the proxy does not lead to it. Look at what the proxy lets through.'
  }
  switch (reached) {
    case 'nothing':
      return adviceOnRoute(failure.kind, origin)
    case 'route':
      return failure.kind === 'silence'
        ? 'its TLS handshake hangs. A kernel accepts connections for a process that is stopped or stuck: look at the ' +
          'apiserver there (is it running, what does its log say), and restart it.'
        : 'it accepts connections and speaks no TLS that this client does. Look at whether an apiserver listens there.'
    case 'tls':
      return adviceOnIdentity(endpoint, failure.code)
    case 'identity':
      return failure.kind === 'silence'
        ? 'it takes connections and leaves the question unanswered. It hangs, or has lost its etcd: look at its log.'
        : 'it takes connections and does not answer as an apiserver. Look at what listens there.'
    case 'answer':
      return 'it answers, but not with a list that can be used. Look at the Endpoints "kubernetes" in namespace ' +
        '"default".'
  }
}

function adviceOnRoute(kind: NonNullable<Probe['failure']>['kind'], origin: EndpointFacts['origin']): string {
  if (kind === 'refused') return 'nothing listens there. Start the apiserver, or correct the address.'
  if (kind === 'name') return 'its name has no address here. Correct the name, or look at DNS.'
  const away = origin === 'learned'
    ? 'Open the way to it (firewall, route, VPN), or map its address with mapEndpoint.'
    : 'Open the way to it (firewall, route, VPN), or correct the address.'
  return `it is out of reach: from here it is no help. ${away}`
}

const AUTHORITY = /^(UNABLE_TO_|SELF_SIGNED_|DEPTH_ZERO_|INVALID_CA|CERT_SIGNATURE_|CERT_UNTRUSTED|CERT_REJECTED)/

function adviceOnIdentity({ needs, origin }: EndpointFacts, code: string | undefined): string {
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID') {
    const name = needs.find((need) => need === 'kubernetes') ?? needs[0] ?? 'its address'
    const kind = isIP(name) === 0 ? 'DNS name' : 'IP address'
    const instead = origin === 'seed' ? ", or give 'servername' a name that it has" : ''
    return `its certificate has no name that counts. Add the ${kind} '${name}' to it (kubeadm: apiServer.certSANs)` +
      `${instead}.`
  }
  if (code === 'CERT_HAS_EXPIRED') {
    return 'its certificate has ended. Renew it (kubeadm: certs renew apiserver), or look at the clock of this machine.'
  }
  if (code === 'CERT_NOT_YET_VALID') return 'its certificate has not begun. Look at the clock of this machine.'
  if (AUTHORITY.test(code ?? '')) {
    return "its certificate is not from the CA that this client trusts. Give the cluster's own CA, or look at who " +
      'answers there.'
  }
  return 'its certificate will not do. Renew it, or look at who answers there.'
}

function problemOfAnswer({ status, authorized }: EndpointFacts, unentitled: boolean): Problem | undefined {
  if (status === undefined || status === 200) return undefined
  const told = (message: string, advice: string): Problem => ({ message: `it answered ${status}${message}`, advice })
  if (authorized === false) {
    return told(' to a question without the token', 'the token could not be had in time. Look at where it comes from.')
  }
  if (unentitled) {
    return told(' to the credentials that the front takes', 'it does not know the credentials that the front takes: ' +
      'the front authenticates by itself, and no listed apiserver can stand in for it.')
  }
  if (status === 401) return told('', 'it does not know the token. Look at its expiry and its audience.')
  if (status === 403) return told('', 'it keeps the list from this client. See the Role to grant.')
  if (status === 429) return told(', too many requests', 'it is overloaded. Dials go elsewhere while it is.')
  if (status >= 500) return told('', 'it refuses. Look at its /readyz?verbose.')
  if (status >= 300 && status < 400) {
    return told(', a redirect', 'it may be a login page or a proxy, and no apiserver. Correct the address.')
  }
  if (status === 404 || status === 410) {
    return told('', 'it serves neither endpoints nor endpointslices, and may be no apiserver. Correct the address.')
  }
  return told('', 'it does not give the list. Look at what listens there.')
}

// ---- the whole

/** What is to be said of all of them together. */
export function generalAdvice(facts: Facts, survives: readonly Survival[]): string[] {
  return [
    ...adviceOnNumber(facts),
    ...adviceOnDiscovery(facts),
    ...adviceOnFronts(facts, survives),
    ...adviceOnDates(facts),
    ...adviceOnClocks(facts),
    ...(facts.verified ? [] : ['Certificates are not verified (rejectUnauthorized: false): whoever is in between can ' +
      "read and answer everything. Give the cluster's CA instead."]),
  ]
}

function adviceOnNumber({ endpoints }: Facts): string[] {
  const [only, ...others] = endpoints
  if (only === undefined || others.length > 0) return []
  return [`Only one address is known, ${only.address}: there is nothing to fail over to. Run more ` +
    'apiservers, or give the addresses of the others as well.']
}

function adviceOnDiscovery({ discovery }: Facts): string[] {
  const why = discovery.lastError === undefined ? '' : ` (${discovery.lastError})`
  switch (discovery.status) {
    case 'ok':
      return []
    case 'forbidden':
      return ['Discovery is forbidden: only the addresses given are used. Grant it: kubectl -n default create role ' +
        'apiserver-discovery --verb=get --resource=endpoints --resource-name=kubernetes && kubectl -n default create ' +
        'rolebinding apiserver-discovery --role=apiserver-discovery --serviceaccount=YOUR-NAMESPACE:YOUR-ACCOUNT']
    case 'off':
      return ['Discovery is turned off (refreshInterval: 0): only the addresses given are used.']
    case 'failing':
    case 'pending':
      return [`The list of apiservers cannot be had${why}: only the addresses known are used.`]
  }
}

function adviceOnFronts({ endpoints }: Facts, survives: readonly Survival[]): string[] {
  return endpoints.filter(({ front }) => front).flatMap(({ address }) => {
    const isLoss = survives.some(({ lost, survived }) => lost === address && !survived)
    return isLoss ? [`Every connection depends on ${address}, which stands before the apiservers: none of them ` +
      'can be used without it from here. Open the way to the listed addresses, or give another one that ' +
      'leads to them.'] : []
  })
}

function adviceOnDates({ endpoints, now }: Facts): string[] {
  return endpoints.flatMap(({ address, certificate, reached }) => {
    if (certificate === undefined || reached === 'tls') return []
    const left = certificate.validTo - now
    if (left > SOON) return []
    const days = Math.max(0, Math.floor(left / DAY))
    return [`The certificate of ${address} ends in ${days} ${days === 1 ? 'day' : 'days'}, on ` +
      `${new Date(certificate.validTo).toISOString().slice(0, 10)}. Renew it (kubeadm: certs renew apiserver).`]
  })
}

function adviceOnClocks({ endpoints }: Facts): string[] {
  return endpoints.flatMap(({ address, ahead = 0 }) => {
    if (Math.abs(ahead) <= CLOCK) return []
    const by = `${Math.round(Math.abs(ahead) / 1_000)} s`
    return [`The clock of ${address} is ${by} ${ahead > 0 ? 'ahead of' : 'behind'} this machine's: certificates and ` +
      'tokens may begin too late or end too early. Look at NTP on both.']
  })
}
