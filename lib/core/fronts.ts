/**
 * Fronts (F1): configured addresses that the list does not hold, such as a balancer, a VIP or a DNS name. Several
 * apiservers may stand behind one, so that what one connection proves says nothing of the next. Here it is decided when
 * the listed apiservers take a front's place.
 */
import { isDoubted, isFront, isListed, statusOf } from './peers.ts'
import type { Peer, State } from './state.ts'
import type { Turn } from './turn.ts'

/** What the order of candidates has to know of fronts: found once for each choice. */
export interface FrontView {
  /** A front has given the list: a listed one must, too, before it takes the front's place. */
  readonly listGiven: boolean
  /** A listed one is ready to take the place of fronts. */
  readonly replaced: boolean
  /** A listed one has answered as it should at some time: listed addresses are within reach. */
  readonly reachable: boolean
}

/** F1: Finds whether the listed apiservers take the place of fronts. */
export function viewFronts(state: State): FrontView {
  let listGiven = false
  for (const peer of state.peers.values()) if (isFront(state, peer) && peer.answer === 200) listGiven = true
  let replaced = false
  let reachable = false
  for (const peer of state.peers.values()) {
    if (!isListed(peer) || !answersLikeFronts(peer, listGiven)) continue
    reachable = true
    if (statusOf(peer) === 'ready' && !isDoubted(peer)) replaced = true
  }
  return { listGiven, replaced, reachable }
}

/** F3: Tells whether listed ones are known and none of them has been tried: a front's connection waits for one. */
export function areUntried(state: State): boolean {
  let anyFront = false
  let anyUntried = false
  for (const peer of state.peers.values()) {
    anyFront ||= isFront(state, peer)
    anyUntried ||= isListed(peer) && peer.standing.is === 'unverified' && peer.answer === undefined && !peer.mute
  }
  return anyFront && anyUntried && !viewFronts(state).reachable
}

/** F1: Tells whether a listed one answers the question as the fronts do. An authenticating proxy knows other tokens. */
function answersLikeFronts({ answer, standing }: Peer, listGiven: boolean): boolean {
  return listGiven ? answer === 200 : answer !== undefined || standing.is === 'ready'
}

/** F1: Tells whether a listed one answers that it does not know who is asking, although a front does. */
export function isUnentitled(peer: Peer, { listGiven }: FrontView): boolean {
  return listGiven && isListed(peer) && (peer.answer === 401 || peer.answer === 403)
}

/** F1: Warns, once, where no listed apiserver can take the place of the front that listed them. */
export function warnOfUselessList(turn: Turn): void {
  const { state } = turn
  const view = viewFronts(state)
  if (!view.listGiven) return
  const listed = [...state.peers.values()].filter(isListed)
  if (view.replaced) return turn.unwarn('front')
  if (listed.length === 0 || !listed.every((peer) => isUnentitled(peer, view) || isUntrusted(peer))) return
  const why = listed.some((peer) => isUnentitled(peer, view))
    ? `they answer ${listed.find((peer) => isUnentitled(peer, view))?.answer} to the credentials that it takes`
    : 'their certificates are not of its CA'
  turn.warn('front', `the listed apiservers cannot stand in for the configured server, as ${why}: it is used alone. ` +
    'If it is a proxy that authenticates by itself, set refreshInterval: 0')
}

function isUntrusted({ standing }: Peer): boolean {
  return standing.is === 'failed' && standing.untrusted
}
