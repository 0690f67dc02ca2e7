/**
 * A program as users of kubernetes-fluent-client write it, for fluent.spec.ts: it watches the configmaps of a namespace,
 * says what it sees, and makes one for each name on its standard input, again and again until that has succeeded. Which
 * cluster, its kubeconfig says.
 */
import { createInterface } from 'node:readline'
import { K8s, kind } from 'kubernetes-fluent-client'

const say = (line) => process.stdout.write(`${line}\n`)

const watcher = K8s(kind.ConfigMap).InNamespace('default').Watch((object, phase) => say(`event ${phase} ${object.metadata.name}`),
  { resyncDelaySec: 1 })
watcher.events.on('connect', () => say('watching'))
watcher.events.on('network_error', (error) => say(`watch failed: ${error.message}`))
watcher.events.on('give_up', () => say('watch given up'))
await watcher.start()

for await (const name of createInterface({ input: process.stdin })) {
  for (;;) {
    try {
      await K8s(kind.ConfigMap).Create({ metadata: { name, namespace: 'default' }, data: {} })
      say(`made ${name}`)
      break
    } catch (answer) {
      // It was made all the same, where the answer to it was lost.
      if (answer.status === 409) {
        say(`made ${name}`)
        break
      }
      say(`failed ${name}: ${answer.status} ${answer.statusText}`)
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
  }
}
watcher.close()
process.exit()
