/**
 * What a dialer tells to whom it was never given: a program whose dependency made the dialer hears its events by the
 * channels of node:diagnostics_channel. Nothing is made for a channel that nobody listens to.
 */
import type { Channel } from 'node:diagnostics_channel'
import { channel } from 'node:diagnostics_channel'
import type { MultidialerChannels } from './multidialer.ts'

/** Held for good: Node forgets a channel that nobody holds. */
const channels: Readonly<Record<'endpoints' | 'failover' | 'failed' | 'warning', Channel>> = {
  endpoints: channel('kube-multidialer:endpoints'),
  failover: channel('kube-multidialer:failover'),
  failed: channel('kube-multidialer:failed'),
  warning: channel('kube-multidialer:warning'),
}

/** Publishes what `message` makes, if anybody listens. Never throws: Node has what a subscriber throws surface. */
export function publish<Name extends keyof typeof channels>(
  name: Name, message: () => MultidialerChannels[`kube-multidialer:${Name}`],
): void {
  if (channels[name].hasSubscribers) channels[name].publish(message())
}
