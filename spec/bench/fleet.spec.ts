/**
 * Small fleets in virtual time: how often a client asks, and what its fleet does to servers that refuse, come back, or
 * lose their etcd. The fleets of bench/fleet are larger; what is promised of them is the same.
 */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { Workload } from '../../bench/fleet/client.ts'
import { FIELD, type FieldOutcome, playField } from '../../bench/fleet/field.ts'
import { SimulatedServer, WORK } from '../../bench/fleet/server.ts'
import { type Traffic, trafficOf } from '../../bench/fleet/traffic.ts'
import { DEFAULTS } from '../../lib/options.ts'
import * as pure from '../../lib/core/step.ts'
import { partOf } from '../support/part.ts'

const core = { ...pure, defaults: DEFAULTS }
const CLIENTS = 60
/** Where many come at once, so many that chance is small beside what is promised. */
const MORE = 200

describe('what one client of a fleet asks', () => {
  const traffic = (workload: Workload): Traffic => trafficOf(core, { carried: workload, clients: 15, seed: 1 })

  it('H7 a busy watch has its server asked at most 4 times in any minute, and no other', () => {
    const { most, questions } = traffic('busy watch')
    assert.equal(most, 4)
    assert.ok(questions <= 4, `${questions} a minute to all servers`)
  })

  it('H12 connections that are never idle have it asked deep at most 4 times in any minute', () => {
    const { deep, mostDeep } = traffic('requests, never idle')
    assert.ok(mostDeep <= 4, `${mostDeep}`)
    assert.ok(deep > 3, `${deep}`)
  })

  it('H12 a silent watch has it asked deep 3 to 4 times a minute', () => {
    const { deep } = traffic('silent watch')
    assert.ok(deep >= 3 && deep <= 4, `${deep}`)
  })

  it('H7 requests on pooled connections have it asked at most 4 times in any minute, and never deep', () => {
    const { most, mostDeep } = traffic('requests, pooled')
    assert.ok(most <= 4, `${most}`)
    assert.equal(mostDeep, 0)
  })

  it('H2 a silent watch has it asked once in 4 to 5 s, and no connection is made for that', () => {
    const { questions, handshakes } = traffic('silent watch')
    assert.ok(questions >= 12 && questions <= 15, `${questions} a minute`)
    // Its caller makes one in 5 minutes.
    assert.ok(handshakes < 0.4, `${handshakes} handshakes a minute`)
  })

  it('H10 who made one request has nothing asked any more', () => {
    assert.equal(traffic('one request').most, 0)
  })
})

const PLAYS = [
  { field: 'behind a balancer: all down for 60 s', workload: 'busy watch', clients: MORE },
  { field: 'one refuses (503) for 5 min', workload: 'busy watch', clients: CLIENTS },
  { field: 'one refuses (503) for 5 min', workload: 'silent watch', clients: CLIENTS },
  { field: 'all refuse (503) for 5 min', workload: 'busy watch', clients: MORE },
  { field: 'one loses its etcd for 2 min', workload: 'silent watch', clients: CLIENTS },
  { field: 'all lose their etcd for 20 s', workload: 'busy watch', clients: MORE },
  { field: 'all lose their etcd for 20 s', workload: 'silent watch', clients: MORE },
  { field: 'all overloaded for 3 min', workload: 'busy watch', clients: MORE },
  { field: 'all overloaded for 3 min', workload: 'silent watch', clients: MORE },
  { field: 'behind a balancer: one killed for 60 s', workload: 'busy watch', clients: MORE },
] as const
const PLAYED = partOf(PLAYS)

describe(`a fleet behind a balancer, ${PLAYED.length} of ${PLAYS.length} faults (CI=true plays all)`, () => {
  const play = (field: string, workload: Workload, clients = CLIENTS): FieldOutcome => (
    playField(core, { field, workload, clients, seed: 1 })
  )

  for (const { field, workload, clients } of PLAYED) {
    it(`H8 ${field}, a ${workload} each: no storm follows, the load is again what it was, and all are served`, () => {
      const { questions, handshakes, watching } = play(field, workload, clients)
      assert.equal(watching, 1)
      assert.ok(questions.peakAfter <= questions.bound, `${questions.peakAfter} questions, at most ${questions.bound}`)
      assert.ok(handshakes.peakAfter <= handshakes.bound, `${handshakes.peakAfter} handshakes, at most ${handshakes.bound}`)
      assert.ok(questions.again <= 1.25, `${questions.again} times the questions of before`)
    })
  }

  it('H5, H7 a server that refuses for 5 minutes has no watch cut for it', () => {
    assert.equal(play('one refuses (503) for 5 min', 'silent watch').severed, 0)
  })

  it('H12 etcd is lost by all for 20 s: no watch is cut, nor when it is back', () => {
    assert.equal(play('all lose their etcd for 20 s', 'silent watch', MORE).severed, 0)
  })

  it('every scenario is played by clients with busy watches and by those with silent ones', () => {
    const names = new Set(FIELD.map(({ name }) => name))
    for (const name of names) {
      const workloads = FIELD.filter((each) => each.name === name).map(({ workload }) => workload)
      assert.deepEqual(workloads.toSorted(), ['busy watch', 'silent watch'])
    }
  })
})

describe('a server of a fleet', () => {
  it('does its work in turn, at the rate it has capacity for, and never what comes when too much waits', () => {
    const server = new SimulatedServer(0)
    assert.equal(server.take(WORK.list, 5), 5)
    server.capacity = 1
    assert.equal(server.take(WORK.question, 1_000), 2_000)
    assert.equal(server.take(WORK.handshake, 1_500), 4_000)
    assert.equal(server.take(20, 2_000), 24_000)
    assert.equal(server.take(WORK.question, 2_500), undefined)
    assert.equal(server.take(WORK.question, 24_500), 25_500)
  })

  it('brings events for as long as it has its etcd', () => {
    const server = new SimulatedServer(0)
    server.loseEtcd(1_000)
    assert.equal(server.isHollow, true)
    assert.equal(server.streamed(5_000), 1_000)
    server.regainEtcd(6_000)
    assert.equal(server.isHollow, false)
    assert.equal(server.streamed(8_000), 3_000)
  })

  it('counts what it is asked, and how much of it deep, by the second', () => {
    const server = new SimulatedServer(2)
    server.beAsked(true, 1_500)
    server.beAsked(false, 1_900)
    server.shakeHands(2_000)
    assert.deepEqual(server.questions, [0, 2])
    assert.deepEqual(server.deepQuestions, [0, 1])
    assert.deepEqual(server.handshakes, [0, 0, 1])
    assert.equal(server.address, '10.0.0.3:6443')
  })
})
