/** What a stand-in apiserver was told to do wrong, sorted by where it shows. No I/O. */
import type { Misbehaviour } from './apiserver-protocol.ts'

type Words = Extract<Misbehaviour, string>
export type ConnectionFault = Exclude<Words, 'deaf' | 'reset-half' | 'reset-half-requests'>
export type RawAnswer = Extract<Misbehaviour, { answer: string }>

export interface Behaviour {
  readonly connection: ConnectionFault | undefined
  readonly half: 'handshake' | 'request' | undefined
  readonly deaf: boolean
  readonly latency: number
  readonly heartbeat: number | 'silent' | undefined
  readonly answer: RawAnswer | undefined
  readonly certificate: string | undefined
  readonly redirect: string | undefined
  readonly everything: number | undefined
}

export const GOOD: Behaviour = {
  connection: undefined, half: undefined, deaf: false, latency: 0, heartbeat: undefined, answer: undefined,
  certificate: undefined, redirect: undefined, everything: undefined,
}

export function behaviourOf(misbehaviours: readonly Misbehaviour[]): Behaviour {
  return misbehaviours.reduce<Behaviour>((behaviour, one) => ({ ...behaviour, ...partOf(one) }), GOOD)
}

function partOf(one: Misbehaviour): Partial<Behaviour> {
  if (typeof one === 'object') return 'answer' in one ? { answer: one } : one
  switch (one) {
    case 'deaf': return { deaf: true }
    case 'reset-half': return { half: 'handshake' }
    case 'reset-half-requests': return { half: 'request' }
    case 'hang-handshake':
    case 'reset-handshake':
    case 'fin-handshake':
    case 'alert':
    case 'old-tls':
    case 'plain-http': return { connection: one }
  }
}
