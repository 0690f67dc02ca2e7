// `node --import ./prometheus.mjs program.js`: the counters of every dialer in it, also of one inside a dependency.
import { subscribe } from 'node:diagnostics_channel'
import { createServer } from 'node:http'
import { Counter, register } from 'prom-client'

const dialers = new Set()    // for good: what was counted must not go down
const add = ({ dialer }) => dialers.add(dialer)
for (const event of ['endpoints', 'failed', 'warning']) subscribe(`kube-multidialer:${event}`, add)

function metric(name, labelNames, valuesOf) {
  const each = () => [...dialers].flatMap((dialer) => valuesOf(dialer.snapshot().counters))
  const collect = function () { this.reset(); for (const [value, labels = {}] of each()) this.inc(labels, value) }
  return new Counter({ name: `kube_multidialer_${name}_total`, help: `${name}, since the start`, labelNames, collect })
}
const plain = {
  dials: 'dials', attempts: 'attempts', heartbeats: 'heartbeats', refreshes: 'refreshes', severed: 'severed',
  dials_failed: 'dialsFailed', heartbeats_failed: 'heartbeatsFailed', refreshes_failed: 'refreshesFailed',
  failovers: 'failovers',
}
for (const [name, counter] of Object.entries(plain)) metric(name, [], (counters) => [[counters[counter]]])
metric('attempts_failed', ['kind'], ({ attemptsFailed: all }) => Object.entries(all).map(([kind, n]) => [n, { kind }]))
metric('dials_made', [], ({ dialTimes }) => [[dialTimes.count]])
metric('dial_seconds', [], ({ dialTimes }) => [[dialTimes.sumMs / 1_000]])

createServer(async (_, response) => response.end(await register.metrics())).listen(process.env.METRICS_PORT ?? 9464)
