// Options: every one that is wrong, and every form that is right, as rows.

import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { invalidOption } from '../lib/errors.ts'
import { checkOptions, DEFAULTS, isToken, toEndpoint, toHost } from '../lib/options.ts'
import { isHarmless } from '../lib/secrets.ts'

const CANARY = 'canary-7f3a'
const server = 'https://10.77.0.1:6443'
const seed = { host: '10.77.0.1', port: 6443 }

/** Asserts that the options are refused, for the option named, in these words. */
function refused(options: unknown, name: string, words: RegExp = /must be|needs/): void {
  assert.throws(() => checkOptions(options), (error: unknown) => {
    assert.ok(error instanceof TypeError)
    assert.equal('code' in error && error.code, 'ERR_INVALID_ARG_VALUE')
    assert.ok(error.message.includes(`'${name}'`), `names '${name}': ${error.message}`)
    assert.ok(!error.message.includes(CANARY), `holds no secret: ${error.message}`)
    assert.match(error.message, words)
    return true
  })
}

describe('options: the server', () => {
  const right: readonly (readonly [string, unknown, readonly object[]])[] = [
    ['is an IPv4 address with a port', server, [seed]],
    ['has port 443 where none is given', 'https://10.77.0.1', [{ host: '10.77.0.1', port: 443 }]],
    ['may end in a slash', 'https://10.77.0.1:6443/', [seed]],
    ['may be a URL object, which has one', new URL(server), [seed]],
    ['may be a URL object of another realm', { href: `${server}/` }, [seed]],
    ['may be written with HTTPS in capitals', 'HTTPS://10.77.0.1:6443', [seed]],
    ['is an IPv6 address in brackets', 'https://[2001:DB8:0::1]:6443', [{ host: '2001:db8::1', port: 6443 }]],
    ['is an IPv6 address in brackets without a port', 'https://[::1]', [{ host: '::1', port: 443 }]],
    ['is a name, kept in lower case', 'https://API.Example.com:6443', [{ host: 'api.example.com', port: 6443 }]],
    ['is a name whose final dot is dropped',
      'https://api.example.com.:6443', [{ host: 'api.example.com', port: 6443 }]],
    ['is a name without a dot or a port', 'https://kubernetes', [{ host: 'kubernetes', port: 443 }]],
    ['may be several, strings and URLs', [server, new URL('https://[::1]:1')], [seed, { host: '::1', port: 1 }]],
    ['counts once when it is given twice',
      [server, `${server}/`, 'https://b', server], [seed, { host: 'b', port: 443 }]],
  ]
  for (const [name, value, seeds] of right) {
    it(name, () => assert.deepEqual(checkOptions({ server: value }).seeds, seeds))
  }

  const wrong: readonly (readonly [string, unknown])[] = [
    ['is missing', undefined], ['is null', null], ['is an empty string', ''], ['is a number', 6443],
    ['is an object without href', {}], ['is an object whose href is no string', { href: 1 }],
    ['is plain HTTP', 'http://10.77.0.1:6443'], ['has no scheme', '10.77.0.1:6443'],
    ['has two slashes too few', 'https:h'],
    ['has a path', 'https://10.77.0.1:6443/k8s/clusters/c-1'], ['has two slashes at its end', `${server}//`],
    ['has a query', `${server}/?a=b`], ['has an empty query', `${server}?`], ['has a fragment', `${server}#`],
    ['has a user', `https://admin:${CANARY}@10.77.0.1:6443`],
    ['has spaces', ` ${server}`], ['has a line break', `${server}\n`],
    ['has a backslash', 'https://10.77.0.1:6443\\'],
    ['has no host', 'https://:6443'], ['is nothing but a scheme', 'https://'],
    ['is an IPv6 address without brackets', 'https://2001:db8::1'],
    ['is an IPv6 address without brackets, but a port', 'https://2001:db8::1:6443'],
    ['is an IPv4 address in brackets', 'https://[10.77.0.1]:6443'], ['has a zone', 'https://[fe80::1%25eth0]:6443'],
    ['has a bracket that stays open', 'https://[::1'],
    ['has port 0', 'https://h:0'], ['has port 65536', 'https://h:65536'],
    ['has an empty port', 'https://h:'],
    ['has a port that is no number', 'https://h:x'], ['has a signed port', 'https://h:+1'],
    ['has an octet above 255', 'https://10.0.0.256'], ['has a leading zero', 'https://010.0.0.1'],
    ['has three octets', 'https://10.0.1'], ['has a label with a hyphen at its end', 'https://a-.example'],
    ['has an empty label', 'https://a..example'], ['has a label of 64', `https://${'a'.repeat(64)}`],
    ['has a wildcard', 'https://*.example.com'], ['has a letter that is not ASCII', 'https://bücher.example'],
  ]
  for (const [name, value] of wrong) {
    it(`is refused when it ${name}`, () => {
      refused({ server: value }, 'server', /'https:\/\/host:port' without a path, a query or a user \(an IPv6 address/)
    })
  }
  it('is refused as an empty array', () => {
    refused({ server: [] }, 'server', /Received an empty array$/)
  })
  it('is named by its index when one of several is wrong', () => {
    refused({ server: [server, 'http://x'] }, 'server[1]', /Received 'http:\/\/x'$/)
  })
  it('is refused as an array in an array', () => {
    refused({ server: [[server]] }, 'server[0]', /Received an array$/)
  })
  it('shows no query, where tokens are put', () => refused({ server: `${server}?access_token=${CANARY}` }, 'server'))
})

describe('options: alternates', () => {
  it('are none unless given', () => assert.deepEqual(checkOptions({ server }).alternates, []))
  it('may be an empty array', () => assert.deepEqual(checkOptions({ server, alternates: [] }).alternates, []))
  it('are host:port, canonical and each once', () => {
    const alternates = ['10.77.0.2:6443', '[2001:DB8::1]:1', 'B.example.:2', '10.77.0.2:6443']
    assert.deepEqual(checkOptions({ server, alternates }).alternates, [
      { host: '10.77.0.2', port: 6443 }, { host: '2001:db8::1', port: 1 }, { host: 'b.example', port: 2 },
    ])
  })
  for (const value of ['10.77.0.2', 'https://10.77.0.2:6443', '::1:6443', '::1', 'h:0', '', 6443, null, {}]) {
    it(`are refused with ${JSON.stringify(value)} among them`, () => {
      refused({ server, alternates: ['h:1', value] }, 'alternates[1]')
    })
  }
  for (const value of ['h:1', null, {}, 0]) {
    it(`are refused as ${JSON.stringify(value)}`, () => refused({ server, alternates: value }, 'alternates'))
  }
})

describe('options: servername and rejectUnauthorized', () => {
  const names: readonly (readonly [string | undefined, string | undefined])[] = [
    [undefined, undefined], ['API.example.com.', 'api.example.com'], ['10.0.0.1', '10.0.0.1'],
    ['2001:DB8::1', '2001:db8::1'],
  ]
  for (const [given, kept] of names) {
    it(`servername ${given} is kept as ${kept}`, () => {
      assert.equal(checkOptions({ server, servername: given }).servername, kept)
    })
  }
  for (const value of ['', ' ', '*.example.com', 'h:6443', '[::1]', 'https://h', 'a\r\nb', '10.0.0.256', null, 1, []]) {
    it(`servername is refused as ${JSON.stringify(value)}`, () => refused({ server, servername: value }, 'servername'))
  }
  it('I4 rejectUnauthorized is true unless explicitly false', () => {
    assert.equal(checkOptions({ server }).rejectUnauthorized, true)
    assert.equal(checkOptions({ server, rejectUnauthorized: undefined }).rejectUnauthorized, true)
    assert.equal(checkOptions({ server, rejectUnauthorized: true }).rejectUnauthorized, true)
    assert.equal(checkOptions({ server, rejectUnauthorized: false }).rejectUnauthorized, false)
  })
  for (const value of [null, 0, 1, '', 'false', {}]) {
    it(`rejectUnauthorized is refused as ${JSON.stringify(value)}`, () => {
      refused({ server, rejectUnauthorized: value }, 'rejectUnauthorized')
    })
  }
})

describe('options: settings', () => {
  it('are the defaults of DESIGN section 1 unless given', () => {
    assert.deepEqual(checkOptions({ server }).settings, {
      attemptDelay: 250, attemptTimeout: 5_000, dialTimeout: 15_000, refreshInterval: 60_000,
      heartbeatInterval: 5_000, heartbeatTimeout: 2_000, balance: 'sticky', maxConnectionAge: undefined,
    })
    assert.deepEqual(checkOptions({ server }).settings, DEFAULTS)
    assert.ok(Object.isFrozen(DEFAULTS))
  })
  it('are kept as given', () => {
    const settings = {
      attemptDelay: 1, attemptTimeout: 2_147_483_647, dialTimeout: 1.5, refreshInterval: 0, heartbeatInterval: 0,
      heartbeatTimeout: 3, balance: 'spread', maxConnectionAge: 4,
    }
    assert.deepEqual(checkOptions({ server, ...settings }).settings, settings)
  })
  it('may have a dialTimeout shorter than attemptTimeout: it bounds the attempts too', () => {
    assert.equal(checkOptions({ server, dialTimeout: 10 }).settings.dialTimeout, 10)
  })
  const times = ['attemptDelay', 'attemptTimeout', 'dialTimeout', 'heartbeatTimeout', 'maxConnectionAge']
  const switches = ['refreshInterval', 'heartbeatInterval']
  for (const name of [...times, ...switches]) {
    for (const value of [-1, 0.5, 2_147_483_648, NaN, Infinity, -Infinity, '250', null, {}, true, 5n]) {
      it(`${name} is refused as ${typeof value} ${String(value)}`, () => {
        refused({ server, [name]: value }, name, /must be a number of milliseconds from 1 to 2147483647/)
      })
    }
  }
  for (const name of times) it(`${name} is refused as 0`, () => refused({ server, [name]: 0 }, name))
  for (const name of switches) {
    it(`${name} says that 0 turns it off`, () => refused({ server, [name]: -1 }, name, /or 0 to turn it off/))
  }
  for (const value of ['Sticky', 'random', '', null, 0]) {
    it(`balance is refused as ${JSON.stringify(value)}`, () => refused({ server, balance: value }, 'balance'))
  }
})

describe('options: credentials', () => {
  const right: readonly object[] = [
    { token: 'abc.def-_~+/=' }, { token: () => 'x' }, { tokenFile: 'token' }, { caFile: 'ca.crt' },
    { ca: 'x', token: 'x' },
    { certFile: 'c', keyFile: 'k' }, { cert: 'c', key: 'k' }, { certFile: 'c', key: 'k' }, { cert: 'c', keyFile: 'k' },
    { pfx: 'p' }, { cert: '', key: null, ca: '' }, { ca: null, caFile: 'ca.crt' },
    { cert: 'c', privateKeyIdentifier: 'k' },
    { cert: 'c', pfx: 'p' }, { key: 'k', pfx: 'p' },
  ]
  for (const options of right) {
    it(`${JSON.stringify(options)} is right`, () => {
      assert.deepEqual(checkOptions({ server, ...options }).seeds, [seed])
    })
  }
  const tokens = [
    '', `${CANARY}\n`, `${CANARY}\r\nx: y`, `a ${CANARY}`, `\t${CANARY}`, `${CANARY}\0`, `${CANARY}é`, 5, null, {},
  ]
  for (const token of tokens) {
    it(`a token ${JSON.stringify(token).replace(CANARY, '...')} is refused`, () => {
      refused({ server, token }, 'token', /non-empty string of visible ASCII characters.*or a function/)
    })
  }
  for (const name of ['tokenFile', 'caFile', 'certFile', 'keyFile']) {
    for (const value of ['', 'a\0b', 5, null, Buffer.from('x'), () => 'x']) {
      it(`${name} is refused as ${typeof value} ${JSON.stringify(value)}`, () => {
        refused({ server, [name]: value }, name)
      })
    }
  }
  for (const value of ['token', 'ca', 'cert', 'key']) {
    const file = `${value}File`
    it(`${value} and ${file} exclude each other`, () => {
      refused({ server, [value]: CANARY, [file]: 'f' }, file,
        new RegExp(`^The options '${value}' and '${file}' exclude each other: give one of them$`))
    })
  }
  for (const name of ['cert', 'certFile']) {
    it(`${name} needs a key`, () => {
      refused({ server, [name]: CANARY }, name, /needs 'key' or 'keyFile': a certificate proves nothing/)
    })
  }
  for (const name of ['key', 'keyFile']) {
    it(`${name} needs a certificate`, () => {
      refused({ server, [name]: CANARY }, name, /needs 'cert' or 'certFile': a key proves nothing/)
    })
  }
})

describe('options: functions, signal and store', () => {
  it('are right as they are meant', () => {
    const store = { load: () => [], save: () => {} }
    const options = { server, connectSocket() {}, mapEndpoint() {}, signal: new AbortController().signal, store }
    assert.deepEqual(checkOptions(options).seeds, [seed])
  })
  for (const name of ['connectSocket', 'mapEndpoint']) {
    for (const value of [null, 'x', {}, 1]) {
      it(`${name} is refused as ${JSON.stringify(value)}`, () => refused({ server, [name]: value }, name))
    }
  }
  for (const value of [null, true, {}, { aborted: false }, new AbortController()]) {
    it(`signal is refused as ${JSON.stringify(value)}`, () => refused({ server, signal: value }, 'signal'))
  }
  for (const value of [null, 'hints.json', {}, { load() {} }, { save() {} }, { load: 1, save: 1 }]) {
    it(`store is refused as ${JSON.stringify(value)}`, () => refused({ server, store: value }, 'store'))
  }
})

describe('options: those of others that are not supported', () => {
  for (const [name, value, words] of [
    ['checkServerIdentity', () => undefined, /is not supported here: give 'servername'/],
    ['secureContext', {}, /is not supported here: give what it was made of/],
    ['proxyEnv', process.env, /is not supported here: give 'connectSocket: throughProxy\(url\)'/],
  ] as const) {
    it(`${name} says what to give in its place`, () => refused({ server, [name]: value }, name, words))
    it(`${name} may be undefined`, () => {
      assert.deepEqual(checkOptions({ server, [name]: undefined }).seeds, [seed])
    })
  }
})

describe('options: as a whole', () => {
  for (const value of [undefined, null, 'https://h', 5, [server], () => {}]) {
    it(`are refused as ${typeof value} ${JSON.stringify(value)}`, () => refused(value, 'options'))
  }
  it('that are unknown are left alone', () => {
    assert.deepEqual(checkOptions({ server, keepAlive: true, minVersion: 'TLSv1.3', nonsense: 1 }).seeds, [seed])
  })
  it('whose getter throws, throw what that throws', () => {
    const own = new Error('mine')
    assert.throws(() => checkOptions({ get server() { throw own } }), own)
  })
})

describe('invalidOption', () => {
  it('names the option, what it must be, and what was received', () => {
    const error = invalidOption('attemptDelay', 'x', 'a number of milliseconds from 1 to 2147483647')
    assert.equal(error.message,
      "The option 'attemptDelay' must be a number of milliseconds from 1 to 2147483647. Received 'x'")
    assert.equal(error.code, 'ERR_INVALID_ARG_VALUE')
    assert.equal(error.name, 'TypeError')
  })
  const shown: readonly (readonly [unknown, string])[] = [
    [undefined, 'undefined'], [null, 'null'], [1.5, '1.5'], [5n, '5'], [true, 'true'], [Symbol('s'), 'Symbol(s)'],
    ['', 'an empty string'], [[], 'an empty array'], [[1], 'an array'], [{}, 'an object'], [() => {}, 'a function'],
    ['a\tb', "'a?b'"], ['ab '.repeat(40), `'${'ab '.repeat(20)}...'`],
  ]
  for (const [value, text] of shown) {
    it(`shows ${text}`, () => {
      assert.equal(invalidOption('o', value, 'x').message, `The option 'o' must be x. Received ${text}`)
    })
  }
  for (const name of ['token', 'key', 'passphrase', 'pfx', 'cert', 'key[0]', 'key.pem']) {
    it(`never shows the value of ${name}`, () => {
      assert.ok(!invalidOption(name, CANARY, 'x').message.includes(CANARY))
      assert.ok(!invalidOption(name, 271828, 'x').message.includes('271828'))
    })
  }
  for (const value of [
    `https://u:${CANARY}@h`, `h?token=${CANARY}`, `-----BEGIN KEY----- ${CANARY}`, `a\n${CANARY}`, `eyJ${CANARY}`,
  ]) {
    it(`shows no ${JSON.stringify(value).replace(CANARY, '...')} under any name`, () => {
      assert.ok(!isHarmless(value))
      assert.ok(!invalidOption('caFile', value, 'x').message.includes(CANARY))
    })
  }
})

describe('toEndpoint, toHost, isToken', () => {
  it('make what a caller or a file gives canonical', () => {
    assert.deepEqual(toEndpoint({ host: '2001:DB8::1', port: 1, more: 2 }), { host: '2001:db8::1', port: 1 })
    assert.deepEqual(toEndpoint({ host: 'A.b.', port: 65_535 }), { host: 'a.b', port: 65_535 })
    assert.equal(toHost('::ffff:10.0.0.1'), '::ffff:10.0.0.1')
  })
  for (const value of [
    undefined, null, 'h:1', [], {}, { host: 'h' }, { port: 1 }, { host: 1, port: 1 }, { host: 'h', port: '1' },
    { host: 'h', port: 0 }, { host: 'h', port: 65_536 }, { host: 'h', port: 1.5 }, { host: 'h', port: NaN },
    { host: '', port: 1 }, { host: '[::1]', port: 1 }, { host: 'h:1', port: 1 }, { host: 'fe80::1%1', port: 1 },
  ]) {
    it(`give nothing for ${JSON.stringify(value)}`, () => assert.equal(toEndpoint(value), undefined))
  }
  it('know a token by what a header can carry', () => {
    assert.ok(isToken('!~'))
    for (const value of ['', ' ', 'a b', 'a\n', 'é', 1, undefined]) assert.ok(!isToken(value))
  })
})
