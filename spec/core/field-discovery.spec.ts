// Discovery in the field (R1, R2, R5, R6), as rows: what is said where no list can be had, when it is asked for again,
// and what an answer counts for.

import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { Discovery, Effect, State } from '../../lib/core/state.ts'
import { nextDeadline } from '../../lib/core/step.ts'
import { checkedStep, runRows } from '../support/core-rows.ts'
import type { Row } from '../support/core-rows.ts'
import {
  A, answered, ask, askDeep, asking, B, broken, cause, front, given, keptSince, known, listOf, missed, otherAnswer,
  pending, ready, refreshed, refreshRequested, reportEndpoints, reportWarning, roundOf, save, settleRefresh, tick, used,
} from '../support/core-given.ts'

const NO_FAILOVER = 'so that there is no failover'
const alone = given({
  peers: { [A]: { ...used, ...front, ...keptSince(0), question: asking(9, 0, { depth: 'deep' }) } },
  discovery: { ...pending, round: roundOf([A]), waiting: [5] }, current: A,
})

/** One refresh of one endpoint, which ends with this answer to both resources, and what it warns of. */
function warned(status: number, advice: string): Row {
  const heard = status === 404 || status === 410
  const question = heard ? 100 : 9
  const asks: Effect[] = heard ? [ask(100, A, { depth: 'deep', via: 'endpointslices' })] : []
  const failed = settleRefresh(5, {
    kind: 'failed', causes: [cause(A, { kind: 'answer', message: `it answered ${status}${advice}` })],
  })
  const what = `the list of apiservers cannot be had, ${NO_FAILOVER}: ${A} answered ${status}${advice}`
  const warning = reportWarning('discovery', what)
  return {
    name: `R5 ${status} is warned of with the refresh that it ends, and what to do about it`,
    given: alone,
    phases: [
      ...(heard ? [[10, answered(A, 9, { status }), asks] as const] : []),
      [20, answered(A, question, { status }), [warning, failed], { discovery: { status: 'failing' } }],
    ],
  }
}

const answers: readonly Row[] = [
  warned(404, ': it serves neither endpoints nor endpointslices, and may be no apiserver'),
  warned(410, ': it serves neither endpoints nor endpointslices, and may be no apiserver'),
  warned(302, ', a redirect: it may be a login page or a proxy, and no apiserver'),
  warned(400, ''),
  {
    name: 'R5, R2 401 is warned of when the token was read again, and names the token',
    given: alone,
    phases: [
      [10, answered(A, 9, { status: 401 }), [askDeep(100, A, { reauthorize: true })]],
      [20, answered(A, 100, { status: 401 }), [
        reportWarning('discovery', `the list of apiservers cannot be had, ${NO_FAILOVER}: ${A} answered 401: ` +
          'look at the token, its expiry and its audience'),
        settleRefresh(5, {
          kind: 'failed',
          causes: [
            cause(A, { kind: 'answer', message: 'it answered 401: look at the token, its expiry and its audience' }),
          ],
        }),
      ]],
    ],
  },
  {
    name: 'R5 503 is warned of at once where nothing has ever been learned: it need not be an apiserver at all',
    given: alone,
    phases: [
      [10, answered(A, 9, { status: 503 }), [ask(100, A)]],
      [20, answered(A, 100, { status: 503 }), [
        reportWarning('discovery', `the list of apiservers cannot be had, ${NO_FAILOVER}: ${A} answered 503`),
        settleRefresh(5, { kind: 'failed', causes: [cause(A, otherAnswer(503))] }),
      ], { discovery: { status: 'failing', lastError: 'it answered 503' } }],
    ],
  },
  {
    name: 'R5 503 may pass where a list was had before, and is not warned of yet',
    given: given({
      peers: { [A]: { ...used, ...keptSince(0), question: asking(9, 0, { depth: 'deep' }) } },
      discovery: { ...known, nextAt: Infinity, round: roundOf([A]), waiting: [5] }, current: A,
    }),
    phases: [
      [10, answered(A, 9, { status: 503 }), [ask(100, A)]],
      [20, answered(A, 100, { status: 503 }), [
        settleRefresh(5, { kind: 'failed', causes: [cause(A, otherAnswer(503))] }),
      ], {
        discovery: { status: 'failing', lastError: 'it answered 503' },
      }],
    ],
  },
  {
    name: 'R5 lost connections are not warned of',
    given: alone,
    phases: [
      [10, missed(A, 9, broken), [askDeep(100, A, { on: 'fresh' })]],
    ],
  },
  {
    name: 'R5 the same answer is warned of once; after a list it is news again',
    given: given({
      peers: { [A]: { ...used, ...front, ...keptSince(0), question: asking(9, 0, { depth: 'deep' }) } },
      discovery: { ...pending, round: roundOf([A]) }, current: A,
    }),
    phases: [
      [10, answered(A, 9, { status: 302 }), [reportWarning('discovery', redirect())]],
      [20, refreshRequested(6), [askDeep(100, A)]],
      [30, answered(A, 100, { status: 302 }), [settleRefresh(6, { kind: 'failed', causes: [cause(A, redirected())] })]],
      [40, refreshRequested(7), [askDeep(101, A)]],
      [50, answered(A, 101, { body: listOf([A]) }), [reportEndpoints(A), save(A), refreshed(7, A)]],
      [60, refreshRequested(8), [askDeep(102, A)]],
      [70, answered(A, 102, { status: 302 }), [
        reportWarning('discovery', redirect()), settleRefresh(8, { kind: 'failed', causes: [cause(A, redirected())] }),
      ]],
    ],
  },
]

function redirect(): string {
  return `the list of apiservers cannot be had, ${NO_FAILOVER}: ${A} answered 302, a redirect: ` +
    'it may be a login page or a proxy, and no apiserver'
}

function redirected(): { readonly kind: 'answer'; readonly message: string } {
  return { kind: 'answer', message: 'it answered 302, a redirect: it may be a login page or a proxy, and no apiserver' }
}

const counted: readonly Row[] = [
  {
    name: 'R6 an answer to a question without its token grants nothing: the round has failed, and is begun anew soon',
    given: alone,
    phases: [
      [10, answered(A, 9, { status: 403, authorized: false }), [settleRefresh(5, {
        kind: 'failed',
        causes: [cause(A, {
          kind: 'answer', message: 'it answered 403 to a question without the token, which could not be had in time',
        })],
      })], {
        discovery: { status: 'failing' },
        peers: { [A]: { answer: undefined, answeredAt: 10, voice: { is: 'well' } } },
      }],
    ],
  },
  {
    name: 'R6 nor does it list anything, were it a 200',
    given: given({
      peers: {
        [A]: { ...used, ...front, question: asking(9) },
      }, discovery: { ...pending, round: roundOf([A]) }, current: A,
    }),
    phases: [
      [
        10, answered(A, 9, { authorized: false, body: listOf([B]) }), [],
        { unknown: [B], discovery: { listedAt: undefined } },
      ],
    ],
  },
  {
    name: 'R6 a token that is there has the list asked for at once',
    given: given({
      peers: { [A]: {
        ...used, ...front,
      } }, discovery: { status: 'failing', listedAt: undefined, nextAt: 12_000 }, current: A,
    }),
    phases: [[1_700, refreshRequested(), [askDeep(100, A)]]],
  },
  {
    name: 'R1 the list of any heartbeat is taken, and puts off the next refresh',
    given: given({
      peers: { [A]: { ...used, question: asking(9) } }, discovery: { ...known, nextAt: 20 }, current: A,
    }),
    phases: [[10, answered(A, 9, { body: listOf([A]) }), [], { discovery: { listedAt: 10 } }]],
  },
  {
    name: 'R1, H12 a refresh asks deep; a server that answers 500 to that still gives the list that its cache has',
    given: given({
      peers: { [A]: { ...used, ...keptSince(0) } }, discovery: known, current: A,
    }),
    phases: [
      [10, refreshRequested(5), [askDeep(100, A)]],
      [20, answered(A, 100, { status: 500 }), [ask(101, A)]],
      [30, answered(A, 101, { body: listOf([A, B]) }), [reportEndpoints(A, B), save(A, B), refreshed(5, A, B)]],
    ],
  },
  {
    name: 'R1, H12 the round waits for that answer, and asks another only where it is no list either',
    given: given({
      peers: { [A]: { ...used, ...keptSince(0) }, [B]: ready }, discovery: known, current: A,
    }),
    phases: [
      [10, refreshRequested(5), [askDeep(100, A)]],
      [20, answered(A, 100, { status: 500 }), [ask(101, A)]],
      [30, answered(A, 101, { status: 500 }), [askDeep(102, B)]],
      [40, answered(B, 102, { body: listOf([A, B]) }), [refreshed(5, A, B)]],
    ],
  },
]

/** Lets each refresh end with this, and gives the pauses between them, and what was warned of and when. */
function refreshesOf(
  answer: (state: State, question: number, now: number) => State, rounds: number, before: Partial<Discovery> = pending,
): {
  readonly pauses: number[]
  readonly warnings: [at: number, message: string][]
} {
  let state: State = {
    ...given({ peers: { [A]: { ...used, ...front } }, discovery: { ...before, nextAt: 0 }, current: A }), usedAt: 0,
  }
  const pauses: number[] = []
  const warnings: [number, string][] = []
  let now = 0
  for (let round = 0; round < rounds; round += 1) {
    const startedAt = now
    const [asked] = checkedStep({ ...state, usedAt: now }, tick, now)
    const question = asked.peers.get(A)?.question ?? assert.fail('nothing was asked')
    state = answer(asked, question.id, now)
    for (const [kind, message] of state.warned) {
      if (kind === 'discovery' && warnings.at(-1)?.[1] !== message) warnings.push([now, message])
    }
    state = { ...state, recovery: undefined }
    const next = nextDeadline({
      ...state, usedAt: Infinity, peers: new Map([...state.peers].map(([a, p]) => [a, { ...p, kept: undefined }])),
    })
    now = next?.why === 'refresh' ? next.at : assert.fail(`it waits for ${next?.why}`)
    pauses.push(now - startedAt)
  }
  return { pauses, warnings }
}

function assertJittered(pauses: readonly number[], seconds: readonly number[]): void {
  assert.equal(pauses.length, seconds.length)
  for (const [index, pause] of pauses.entries()) {
    const expected = (seconds[index] ?? 0) * 1_000
    const isAbout = pause >= 0.79 * expected && pause <= 1.21 * expected
    assert.ok(isAbout, `pause ${index} is ${pause} ms, not about ${expected}`)
  }
}

/** Answers 503, and to the shallow question after that, too. */
function unavailable(state: State, question: number, now: number): State {
  const [shallow] = checkedStep(state, answered(A, question, { status: 503 }), now)
  const again = shallow.peers.get(A)?.question?.id
  return again === undefined ? shallow : checkedStep(shallow, answered(A, again, { status: 503 }), now)[0]
}

describe('a list that cannot be had', () => {
  it('R2 that is forbidden is asked for after 10, 20, 40 s and so on, and then every 5 minutes', () => {
    const { pauses, warnings } = refreshesOf((state, question, now) => {
      const [slices] = checkedStep(state, answered(A, question, { status: 403 }), now)
      const [ended] = checkedStep(slices, answered(A, slices.peers.get(A)?.question?.id ?? -1, { status: 403 }), now)
      return ended
    }, 8)
    assertJittered(pauses, [10, 20, 40, 80, 160, 300, 300, 300])
    assert.deepEqual(warnings, [[0, 'discovery is forbidden: ' +
      'grant get on endpoints "kubernetes" in namespace "default"; ' +
      'only the configured servers are used']])
  })

  it('R1, R5 for 503 is asked for after 10, 20, 40 s, then every refreshInterval; a minute of it is warned of', () => {
    const { pauses, warnings } = refreshesOf(unavailable, 6, known)
    assertJittered(pauses, [10, 20, 40, 60, 60, 60])
    assert.equal(warnings.length, 1)
    const [at, message] = warnings[0] ?? assert.fail('no warning')
    assert.ok(at >= 60_000 && at <= 140_000, `at ${at}`)
    assert.equal(message, `the list of apiservers cannot be had for a minute and more, ${NO_FAILOVER}: it answered 503`)
  })

  it('R5 for 503 where nothing was ever learned is warned of at once, and not again', () => {
    const { warnings } = refreshesOf(unavailable, 6)
    assert.deepEqual(warnings, [[0, `the list of apiservers cannot be had, ${NO_FAILOVER}: ${A} answered 503`]])
  })

  it('R5 for lost connections is not warned of, however long it lasts', () => {
    const { warnings } = refreshesOf((state, question, now) => {
      const [again] = checkedStep(state, missed(A, question, broken), now)
      const id = again.peers.get(A)?.question?.id
      return id === undefined ? again : checkedStep(again, missed(A, id, broken), now)[0]
    }, 6)
    assert.deepEqual(warnings, [])
  })
})

runRows('answers that are no list', answers)
runRows('what an answer counts for', counted)
