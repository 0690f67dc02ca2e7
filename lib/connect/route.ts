/**
 * The options that say by which way to connect: those of node:net that https.Agent takes as well. They hold for every
 * connection that a dialer makes, those of its own questions included. Here they are checked; which of a request's
 * options go before them is decided where a connection is made.
 */
import { isIP, type TcpNetConnectOpts } from 'node:net'

import { invalidOption, optionError } from '../errors.ts'

/** By which way to connect. Each is undefined unless it was given. */
export type RouteOptions = Pick<TcpNetConnectOpts,
  'localAddress' | 'family' | 'hints' | 'lookup' | 'autoSelectFamily' | 'autoSelectFamilyAttemptTimeout'>

type Check = readonly [name: keyof RouteOptions, expected: string, holds: (value: unknown) => boolean]

const CHECKS: readonly Check[] = [
  ['localAddress', 'an IP address of this machine', (value) => typeof value === 'string' && isIP(value) !== 0],
  ['family', '4, 6, or 0 for both', (value) => value === 0 || value === 4 || value === 6],
  ['hints', "the 'hints' of dns.lookup(), a whole number", (value) => Number.isInteger(value) && Number(value) >= 0],
  ['lookup', 'a function like dns.lookup()', (value) => typeof value === 'function'],
  ['autoSelectFamily', 'a boolean', (value) => typeof value === 'boolean'],
  ['autoSelectFamilyAttemptTimeout', 'a whole number of milliseconds from 1 to 2147483647',
    (value) => Number.isInteger(value) && Number(value) >= 1 && Number(value) <= 2_147_483_647],
]

/**
 * Picks the options of the way out of all options, and checks them. `undefined` and `null` mean that an option was not
 * given.
 *
 * @throws TypeError with code ERR_INVALID_ARG_VALUE, naming the option
 */
export function checkRoute(options: { readonly [Name in keyof RouteOptions | 'localPort']?: unknown }): RouteOptions {
  const { localPort } = options
  if (isGiven(localPort)) {
    throw optionError("The option 'localPort' is not supported here: a dialer has several connections at once, and " +
      "they cannot share a port. Give 'localAddress', or give 'localPort' with the request it is for")
  }
  const route: RouteOptions = {}
  for (const [name, expected, holds] of CHECKS) {
    const value = options[name]
    if (!isGiven(value)) continue
    if (!holds(value)) throw invalidOption(name, value, expected)
    Object.assign(route, { [name]: value })
  }
  return route
}

function isGiven(value: unknown): boolean {
  return value !== undefined && value !== null
}
