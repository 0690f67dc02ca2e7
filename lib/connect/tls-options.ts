/**
 * The names of those options of node:tls that have a say here, each in one place. Names alone: what a dialer makes of
 * them is in credentials.ts, what one request changes in own-tls.ts, and what sets its connection apart in pool-key.ts.
 */

/** Those that make a context: certificates, keys, CAs, protocols. All of tls.SecureContextOptions that clients have. */
export const CONTEXT_OPTIONS = [
  'ca', 'cert', 'key', 'pfx', 'passphrase', 'crl', 'allowPartialTrustChain', 'minVersion', 'maxVersion',
  'secureProtocol', 'secureOptions', 'ciphers', 'honorCipherOrder', 'ecdhCurve', 'sigalgs', 'dhparam',
  'sessionIdContext', 'sessionTimeout', 'ticketKeys', 'clientCertEngine', 'privateKeyEngine', 'privateKeyIdentifier',
  'certificateCompression',
] as const

/** Those that change what one handshake must prove. */
export const HANDSHAKE_OPTIONS = ['secureContext', 'checkServerIdentity', 'requestOCSP', 'minDHSize'] as const
