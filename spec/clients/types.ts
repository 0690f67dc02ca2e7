/**
 * What the compilers of users see: the connector is one of every undici, and the KubeConfig of every client-node will
 * do. Checked by `tsc -p spec/clients`; never run.
 */
import { KubeConfig as KubeConfig0 } from 'client-node-0'
import { KubeConfig as KubeConfig1 } from 'client-node-1'
import { KubeConfig as KubeConfig2 } from 'client-node-2'
import { Agent as Agent6 } from 'undici-6'
import { Agent as Agent7 } from 'undici-7'
import { Agent as Agent8 } from 'undici-8'
import { withMultidialer } from '../../lib/adapters/client-node.ts'
import type { Multidialer } from '../../lib/index.ts'
import { undiciConnector } from '../../lib/adapters/undici.ts'

export function used(dialer: Multidialer): unknown[] {
  const connect = undiciConnector(dialer)
  return [
    new Agent6({ connect }), new Agent7({ connect }), new Agent8({ connect }),
    withMultidialer(new KubeConfig0()), withMultidialer(new KubeConfig1()),
    withMultidialer(new KubeConfig2(), { heartbeatInterval: 1_000 }),
  ]
}
