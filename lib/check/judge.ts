/**
 * What a check says of its facts: who would serve if another were lost, and what to do. Pure: facts in, plain JSON out.
 * Every sentence that a check can say is in words.ts.
 */
import type { Check, EndpointCheck, EndpointFacts, Facts, Survival } from './facts.ts'
import { DAY, generalAdvice, problemOf } from './words.ts'

/** Says what the facts come to. */
export function judge(facts: Facts): Check {
  const { endpoints, discovery: { listed, ...discovery } } = facts
  const survives = survivalsOf(facts)
  const checked = endpoints.map((endpoint) => endpointCheckOf(endpoint, facts))
  const troubles = checked.flatMap(({ address, error }) => error === undefined ? [] : `${address}: ${error.advice}`)
  return {
    endpoints: checked,
    discovery,
    ...(listed ? { front: endpoints.some(({ origin, front }) => origin === 'seed' && front) } : {}),
    survives,
    advice: [...generalAdvice(facts, survives), ...troubles],
  }
}

function endpointCheckOf(endpoint: EndpointFacts, { now, endpoints }: Facts): EndpointCheck {
  const { address, origin, listed, front, reached, ms, needs, certificate, status } = endpoint
  const error = problemOf(endpoint, isUnentitled(endpoint, endpoints))
  return {
    address, origin, listed, front, reached, ms,
    ...(certificate === undefined ? {} : {
      certificate: {
        needs,
        names: certificate.names,
        validTo: new Date(certificate.validTo).toISOString(),
        daysLeft: Math.floor((certificate.validTo - now) / DAY),
      },
    }),
    ...(status === undefined ? {} : { status }),
    ...(error === undefined ? {} : { error }),
  }
}

/**
 * Says for each endpoint who would serve without it. A front leads to those that are listed: for the loss of one of
 * them it is good as long as another is listed, and its own loss is survived only by who can be reached without it.
 */
function survivalsOf({ endpoints, discovery }: Facts): Survival[] {
  const listed = endpoints.filter((endpoint) => endpoint.listed)
  const counted = discovery.listed ? endpoints.filter((endpoint) => endpoint.listed || endpoint.front) : endpoints
  return counted.map((lost) => {
    const isLeft = (other: EndpointFacts): boolean => (
      other !== lost && isOfUse(other, endpoints) && (!other.front || lost.front || listed.length > 1)
    )
    const by = counted.filter(isLeft).map(({ address }) => address)
    return { lost: lost.address, survived: by.length > 0, by }
  })
}

/** Whether a dial would be served by it: it answers, and not that it can do nothing. */
function isOfUse(endpoint: EndpointFacts, all: readonly EndpointFacts[]): boolean {
  const { reached, status = 0 } = endpoint
  return reached === 'answer' && status !== 429 && status < 500 && !isUnentitled(endpoint, all)
}

/** F1: A listed one that does not know who is asking, although a front does: that one authenticates by itself. */
function isUnentitled({ listed, status }: EndpointFacts, all: readonly EndpointFacts[]): boolean {
  return listed && (status === 401 || status === 403) && all.some((other) => other.front && other.status === 200)
}
