import * as k8s from '@kubernetes/client-node'
import { withMultidialer } from 'kube-multidialer/client-node'

const config = new k8s.KubeConfig()
config.loadFromDefault()
const dialer = withMultidialer(config)
dialer.on('failover', ({ from, to, reason }) => console.error(`from ${from} to ${to}: ${reason}`))

const api = config.makeApiClient(k8s.CoreV1Api)
const list = () => api.listNamespacedConfigMap({ namespace: 'default' })
const informer = k8s.makeInformer(config, '/api/v1/namespaces/default/configmaps', list)
informer.on('add', ({ metadata }) => console.log('add', metadata.name))
informer.on('update', ({ metadata }) => console.log('update', metadata.name))
informer.on('delete', ({ metadata }) => console.log('delete', metadata.name))
// An informer of client-node ends when its connection does; started again, it goes on from where it was.
informer.on('error', () => setTimeout(() => informer.start(), 100))
await informer.start()
