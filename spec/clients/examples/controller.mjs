import { setTimeout } from 'node:timers/promises'
import * as k8s from '@kubernetes/client-node'
import { withMultidialer } from 'kube-multidialer/client-node'

const config = new k8s.KubeConfig()
config.loadFromDefault()
withMultidialer(config)

const namespace = 'default'
const api = config.makeApiClient(k8s.CoreV1Api)
const watch = new k8s.Watch(config)
const known = new Map()    // name to resourceVersion: what was acted upon

function act(type, name, resourceVersion) {
  if (type === 'DELETED') known.delete(name)
  else known.set(name, resourceVersion)
  console.log(type, name, resourceVersion)    // the work of the controller
}

/** Acts upon what has changed since the last event; returns from where to watch. */
async function list() {
  const { items, metadata } = await api.listNamespacedConfigMap({ namespace })
  const names = new Set(items.map((item) => item.metadata.name))
  for (const [name, version] of known) if (!names.has(name)) act('DELETED', name, version)
  for (const { metadata: { name, resourceVersion } } of items) {
    if (known.get(name) !== resourceVersion) act(known.has(name) ? 'MODIFIED' : 'ADDED', name, resourceVersion)
  }
  return metadata.resourceVersion
}

/** Watches until the connection ends; resolves with the last version seen, or undefined when it is too old (410). */
function follow(version) {
  return new Promise((resolve) => {
    let over = false
    const path = `/api/v1/namespaces/${namespace}/configmaps`
    const end = (error) => {
      over = true
      resolve(error?.statusCode === 410 ? undefined : version)
    }
    watch.watch(path, { resourceVersion: version, allowWatchBookmarks: true }, (type, object) => {
      if (over) return
      if (type === 'ERROR') return end({ statusCode: object.code })
      version = object.metadata.resourceVersion
      if (type !== 'BOOKMARK') act(type, object.metadata.name, version)
    }, end).catch(end)
  })
}

let version
for (;;) {
  try {
    version = await follow(version ?? await list())
  } catch (error) {
    console.error(error.message)    // no apiserver could be reached, each with its cause
  }
  await setTimeout(100)
}
