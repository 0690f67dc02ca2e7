/**
 * SPDY/3.1 as a kubelet speaks it with kubectl for exec and port-forward, from the server's side: streams that the other
 * end opens, bytes both ways, ends. Flow control is not among what kubectl's own implementation has, nor is it here.
 */
import { Duplex } from 'node:stream'
import zlib from 'node:zlib'

const SYN_STREAM = 1
const SYN_REPLY = 2
const RST_STREAM = 3
const PING = 6
const HEAD = 8
const FIN = 1

/** The dictionary of SPDY/3, section 2.6.10.1: words with their lengths, then a text. */
const WORDS = 'options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age ' +
  'allow authorization cache-control connection content-base content-encoding content-language content-length ' +
  'content-location content-md5 content-range content-type date etag expect expires from host if-match ' +
  'if-modified-since if-none-match if-range if-unmodified-since last-modified location max-forwards pragma ' +
  'proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade ' +
  'user-agent vary via warning www-authenticate method get status 200_OK version HTTP/1.1 url public set-cookie ' +
  'keep-alive origin'
const TEXT = '100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505203 ' +
  'Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden404 Not ' +
  'Found500 Internal Server Error501 Not Implemented503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct Nov ' +
  'Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,application/xml,' +
  'application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=' +
  'iso-8859-1,utf-,*,enq=0.'
const dictionary = Buffer.concat([...WORDS.split(' ').map((word) => lengthAnd(word.replace('_', ' '))), Buffer.from(TEXT)])

/** One that the other end has opened. */
export interface SpdyStream {
  readonly headers: ReadonlyMap<string, string>
  readonly stream: Duplex
}

/** Serves a connection that was upgraded; `onStream` has each stream that is opened on it. */
export function serveSpdy(socket: Duplex, onStream: (opened: SpdyStream) => void): void {
  const streams = new Map<number, Duplex>()
  const [inflate, deflate] = [new Filter(zlib.createInflate({ dictionary })), new Filter(zlib.createDeflate({ dictionary }))]

  const open = async (flags: number, body: Buffer): Promise<void> => {
    const id = body.readUInt32BE(0) & 0x7fffffff
    const headers = headersOf(await inflate.through(body.subarray(10)))
    const stream = new Duplex({
      read: () => {},
      write: (bytes: Buffer, _encoding, done) => void socket.write(dataFrame(id, 0, bytes), done),
      final: (done) => void socket.write(dataFrame(id, FIN, Buffer.alloc(0)), done),
    })
    stream.on('error', () => {}).on('close', () => streams.delete(id))
    streams.set(id, stream)
    const none = await deflate.through(Buffer.alloc(4))
    socket.write(controlFrame(SYN_REPLY, Buffer.concat([word(id), none])))
    onStream({ headers, stream })
    if ((flags & FIN) !== 0) stream.push(null)
  }

  const handle = async (head: Buffer, body: Buffer): Promise<void> => {
    const flags = head.readUInt8(4)
    if ((head.readUInt8(0) & 0x80) === 0) {
      const stream = streams.get(head.readUInt32BE(0))
      if (body.length > 0) stream?.push(body)
      if ((flags & FIN) !== 0) stream?.push(null)
      return
    }
    const type = head.readUInt16BE(2)
    if (type === SYN_STREAM) await open(flags, body)
    else if (type === RST_STREAM) streams.get(body.readUInt32BE(0))?.destroy()
    else if (type === PING) socket.write(controlFrame(PING, body))
  }

  const read = async (): Promise<void> => {
    let pending: Buffer = Buffer.alloc(0)
    for await (const chunk of socket) {
      pending = Buffer.concat([pending, chunk])
      while (pending.length >= HEAD && pending.length >= HEAD + pending.readUIntBE(5, 3)) {
        const end = HEAD + pending.readUIntBE(5, 3)
        await handle(pending.subarray(0, HEAD), pending.subarray(HEAD, end))
        pending = pending.subarray(end)
      }
    }
  }

  void read().catch(() => {}).finally(() => {
    for (const stream of streams.values()) stream.destroy()
    socket.destroy()
  })
}

/** One direction's compression, which spans all blocks of headers. */
class Filter {
  readonly #zlib: zlib.Inflate | zlib.Deflate

  constructor(stream: zlib.Inflate | zlib.Deflate) {
    this.#zlib = stream
  }

  async through(block: Buffer): Promise<Buffer> {
    const chunks: Buffer[] = []
    const onData = (chunk: Buffer): void => { chunks.push(chunk) }
    this.#zlib.on('data', onData)
    this.#zlib.write(block)
    await new Promise<void>((resolve, reject) => {
      this.#zlib.once('error', reject)
      this.#zlib.flush(zlib.constants.Z_SYNC_FLUSH, () => {
        this.#zlib.off('error', reject)
        resolve()
      })
    })
    this.#zlib.off('data', onData)
    return Buffer.concat(chunks)
  }
}

function headersOf(block: Buffer): ReadonlyMap<string, string> {
  const headers = new Map<string, string>()
  let at = 4
  const next = (): string => {
    const length = block.readUInt32BE(at)
    at += 4 + length
    return block.toString('utf8', at - length, at)
  }
  for (let left = block.readUInt32BE(0); left > 0; left -= 1) headers.set(next(), next())
  return headers
}

function dataFrame(id: number, flags: number, bytes: Buffer): Buffer {
  return Buffer.concat([word(id), Buffer.of(flags), length(bytes), bytes])
}

function controlFrame(type: number, body: Buffer): Buffer {
  return Buffer.concat([Buffer.of(0x80, 3, 0, type, 0), length(body), body])
}

function word(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}

function length(bytes: Buffer): Buffer {
  return word(bytes.length).subarray(1)
}

function lengthAnd(text: string): Buffer {
  return Buffer.concat([word(text.length), Buffer.from(text)])
}
