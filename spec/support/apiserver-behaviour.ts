/** What a stand-in apiserver was told to do wrong, sorted by where it shows. No I/O. */
import type { Misbehaviour } from './apiserver-protocol.ts'

type Words = Extract<Misbehaviour, string>
/** What goes wrong before there is TLS, and once there is. */
export type ConnectionFault =
  'hang-handshake' | 'reset-handshake' | 'fin-handshake' | 'alert' | 'old-tls' | 'plain-http' | 'refuse-clients'
export type SecuredFault = 'close-after-handshake' | 'reset-after-handshake'
export type RawAnswer = Extract<Misbehaviour, { answer: string }>

export interface Behaviour {
  readonly connection: ConnectionFault | undefined
  readonly secured: SecuredFault | undefined
  readonly half: 'handshake' | 'request' | undefined
  /** Nothing is read nor written; what is 'mute' has its handshakes done. */
  readonly silence: 'deaf' | 'mute' | undefined
  readonly draining: boolean
  readonly anonymousForbidden: boolean
  readonly latency: number
  readonly slow: number
  readonly etcd: 'hangs' | number | undefined
  readonly heartbeat: number | 'silent' | undefined
  readonly answer: RawAnswer | undefined
  readonly certificate: string | undefined
  readonly redirect: string | undefined
  readonly everything: number | undefined
  readonly close: boolean
  readonly failing: { readonly path: string; readonly status: number } | undefined
  readonly sni: Readonly<Record<string, string>>
}

export const GOOD: Behaviour = {
  connection: undefined, secured: undefined, half: undefined, silence: undefined, draining: false,
  anonymousForbidden: false, latency: 0, slow: 0, etcd: undefined, heartbeat: undefined, answer: undefined,
  certificate: undefined, redirect: undefined, everything: undefined, close: false, failing: undefined, sni: {},
}

export function behaviourOf(misbehaviours: readonly Misbehaviour[]): Behaviour {
  return misbehaviours.reduce<Behaviour>((behaviour, one) => ({ ...behaviour, ...partOf(one) }), GOOD)
}

function partOf(one: Misbehaviour): Partial<Behaviour> {
  if (typeof one === 'string') return partOfWord(one)
  if ('answer' in one) return { answer: one }
  if ('failing' in one) return { failing: { path: one.failing, status: one.status } }
  return one
}

function partOfWord(word: Words): Partial<Behaviour> {
  switch (word) {
    case 'deaf':
    case 'mute': return { silence: word }
    case 'draining': return { draining: true }
    case 'anonymous-forbidden': return { anonymousForbidden: true }
    case 'reset-half': return { half: 'handshake' }
    case 'reset-half-requests': return { half: 'request' }
    case 'close-after-handshake':
    case 'reset-after-handshake': return { secured: word }
    case 'hang-handshake':
    case 'reset-handshake':
    case 'fin-handshake':
    case 'alert':
    case 'old-tls':
    case 'refuse-clients':
    case 'plain-http': return { connection: word }
  }
}
