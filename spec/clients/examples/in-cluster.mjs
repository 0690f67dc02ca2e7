import https from 'node:https'
import { readFile } from 'node:fs/promises'
import { text } from 'node:stream/consumers'
import { inClusterOptions, MultidialerAgent } from 'kube-multidialer'

// Where the kubelet mounts the service account, unless a projected volume is mounted elsewhere.
const options = inClusterOptions({ root: process.env.SERVICE_ACCOUNT })
const agent = new MultidialerAgent({ ...options, keepAlive: true })

const token = await readFile(options.tokenFile, 'utf8')    // rotates: read it for each request
const headers = { authorization: `Bearer ${token.trim()}` }
https.get('https://kubernetes.default.svc/api/v1/namespaces/default/pods', { agent, headers }, async (response) => {
  for (const pod of JSON.parse(await text(response)).items) console.log(pod.metadata.name)
})
