// The runtime of Node.js functions: asks for an event, calls the handler, sends what it answers.
'use strict'
const http = require('node:http')
const net = require('node:net')
const path = require('node:path')
const fs = require('node:fs')
const { Writable } = require('node:stream')
const { pathToFileURL } = require('node:url')

const env = process.env
const [host, port] = env.AWS_LAMBDA_RUNTIME_API.split(':')
const API = '/2018-06-01/runtime/'
const agent = new http.Agent({ keepAlive: true, maxSockets: 1, noDelay: true })
const SMALL = 1 << 20 // Characters of a result.
const STREAMING = Symbol.for('aws.lambda.runtime.handler.streaming')

// Looked up in the text: few of them are, and each but once.
class Headers {
  constructor (text) {
    this.text = text
    this.lower = text.toLowerCase()
  }

  get (name) {
    const at = this.lower.indexOf(`\r\n${name}:`)
    if (at < 0) return undefined
    const begin = at + name.length + 3
    const end = this.text.indexOf('\r', begin)
    return this.text.slice(begin, end < 0 ? undefined : end).trim()
  }
}

// The Runtime API over one connection, with no more of HTTP/1.1 than that takes: node:http costs several times as much. A
// request need not wait for the answer to the one before, so a result and the question for the next event are one write.
const api = {
  waiting: [], // Who waits for answers, in the order of the requests.
  unsent: '', // Requests of this turn.
  parts: [],
  size: 0, // Of the parts.
  needed: 0, // As many bytes are looked for before the parts are read again.

  connect () {
    // Past the stream's readable side, which costs as much as all the rest.
    const onread = {
      buffer: Buffer.allocUnsafe(65536),
      callback: (length, buffer) => {
        this.take(length, buffer)
        return true // Go on reading.
      }
    }
    const socket = this.socket = net.connect({ host, port, noDelay: true, onread })
    const end = (error) => {
      if (this.socket !== socket) return
      const waiting = this.waiting
      Object.assign(this, { socket: undefined, waiting: [], unsent: '', parts: [], size: 0, needed: 0 })
      for (const { reject } of waiting) reject(error)
    }
    socket.on('error', end)
    socket.on('close', () => end(new Error('the Runtime API has closed the connection')))
  },

  send (method, where, headers, body = '') {
    if (!this.socket) this.connect()
    const socket = this.socket
    let head = `${method} ${API}${where} HTTP/1.1\r\nHost: ${host}:${port}\r\n`
    if (method === 'POST') head += `Content-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}\r\n`
    for (const name in headers) head += `${name}: ${String(headers[name]).replace(/[^\x20-\x7e]/g, '?')}\r\n`
    if (this.unsent === '') process.nextTick(() => this.flush(socket))
    this.unsent += head + '\r\n' + body
    socket.ref()
    return new Promise((resolve, reject) => this.waiting.push({ resolve, reject }))
  },

  flush (socket) {
    if (this.socket !== socket) return
    socket.write(this.unsent)
    this.unsent = ''
  },

  // What was read is overwritten by the next read: what is kept of it is copied.
  take (length, read) {
    this.size += length
    if (this.parts.length > 0 || this.size < this.needed) this.parts.push(Buffer.from(read.subarray(0, length)))
    if (this.size < this.needed) return
    const received = this.parts.length > 0 ? Buffer.concat(this.parts) : read
    const end = this.size
    let at = 0
    this.needed = 0
    while (at < end && this.needed === 0) {
      const head = received.indexOf('\r\n\r\n', at)
      const complete = head >= 0 && head + 4 <= end
      const headers = new Headers(complete ? received.latin1Slice(at, head) : '')
      const next = complete ? head + 4 + Number(headers.get('content-length') ?? 0) : end + 1
      if (next > end) {
        this.needed = next - at
      } else {
        this.waiting.shift()?.resolve({ headers, body: received.utf8Slice(head + 4, next) })
        at = next
      }
    }
    this.parts = at < end ? [Buffer.from(received.subarray(at, end))] : []
    this.size = end - at
    // What a handler leaves to be done keeps the process going, an idle connection does not.
    if (this.waiting.length === 0) this.socket.unref()
  }
}
const gone = () => process.exit(0) // Whoever served the events has ended.
const post = (where, body, headers) => api.send('POST', where, headers, body)

const describe = (error) => error instanceof Error
  ? { errorType: error.name, errorMessage: error.message, trace: String(error.stack).split('\n') }
  : { errorType: typeof error, errorMessage: String(error), trace: [] }
const failed = (where, error) => {
  const described = describe(error)
  return post(where, JSON.stringify(described), { 'Lambda-Runtime-Function-Error-Type': described.errorType })
}

globalThis.awslambda = {
  streamifyResponse: (handler, options) => {
    handler[STREAMING] = 'response'
    return handler
  },
  HttpResponseStream: {
    from: (stream, prelude) => {
      stream.setContentType('application/vnd.awslambda.http-integration-response')
      stream.write(Buffer.concat([Buffer.from(JSON.stringify(prelude)), Buffer.alloc(8)]))
      return stream
    }
  }
}

class ResponseStream extends Writable {
  constructor (id) {
    super({ highWaterMark: 65536 })
    this.id = id
    this.contentType = 'application/octet-stream'
    this.done = new Promise((resolve, reject) => { this.settle = { resolve, reject } })
  }

  setContentType (type) { this.contentType = type }

  open () {
    if (this.request) return this.request
    this.request = http.request({
      host,
      port,
      agent,
      method: 'POST',
      path: `${API}invocation/${this.id}/response`,
      headers: {
        'Content-Type': this.contentType,
        'Lambda-Runtime-Function-Response-Mode': 'streaming',
        'Transfer-Encoding': 'chunked',
        Trailer: 'Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body'
      }
    }, (response) => response.resume().on('end', this.settle.resolve).on('error', this.settle.reject))
    this.request.on('error', this.settle.reject)
    return this.request
  }

  _write (chunk, encoding, callback) { this.open().write(chunk, callback) }

  _final (callback) {
    this.open().end()
    callback()
  }

  fail (error) {
    const described = describe(error)
    this.request.addTrailers({
      'Lambda-Runtime-Function-Error-Type': described.errorType,
      'Lambda-Runtime-Function-Error-Body': Buffer.from(JSON.stringify(described)).toString('base64')
    })
    this.request.end()
  }
}

async function load () {
  const root = env.LAMBDA_TASK_ROOT
  const slash = env._HANDLER.lastIndexOf('/') + 1
  const [file, ...names] = env._HANDLER.slice(slash).split('.')
  const base = path.resolve(root, env._HANDLER.slice(0, slash), file)
  const found = ['.js', '.mjs', '.cjs'].map((ending) => base + ending).find((name) => fs.existsSync(name))
  if (!found) {
    throw Object.assign(new Error(`Cannot find module '${path.relative(root, base)}'`), { name: 'Runtime.ImportModuleError' })
  }
  const module = await import(pathToFileURL(found))
  const pick = (from) => names.reduce((value, name) => value?.[name], from)
  const handler = pick(module) ?? pick(module.default)
  if (typeof handler !== 'function') {
    const name = handler === undefined ? 'Runtime.HandlerNotFound' : 'Runtime.HandlerNotFunction'
    throw Object.assign(new Error(`${env._HANDLER} is undefined or not a function`), { name })
  }
  return handler
}

const json = (text) => text ? JSON.parse(text) : undefined
let finish // What ends the invocation under way.
let atRest // What answers it once nothing else is left to run.

// Each value that setenv(3) is ever given stays in memory, 150 bytes for a trace id: in time all that a busy instance may use.
const TRACE_ID = '_X_AMZN_TRACE_ID'
let traceId = env[TRACE_ID] = ''
process.env = new Proxy(env, {
  get: (env, name) => name === TRACE_ID ? traceId : env[name],
  set: (env, name, value) => {
    if (name === TRACE_ID) traceId = String(value)
    else env[name] = value
    return true
  },
  getOwnPropertyDescriptor: (env, name) => {
    const found = Reflect.getOwnPropertyDescriptor(env, name)
    return found && name === TRACE_ID ? { ...found, value: traceId } : found
  }
})

// The same in each context; each look into the environment is a call of getenv(3).
const {
  AWS_LAMBDA_FUNCTION_NAME: functionName,
  AWS_LAMBDA_FUNCTION_VERSION: functionVersion,
  AWS_LAMBDA_FUNCTION_MEMORY_SIZE: memoryLimitInMB,
  AWS_LAMBDA_LOG_GROUP_NAME: logGroupName,
  AWS_LAMBDA_LOG_STREAM_NAME: logStreamName
} = env

function contextOf (headers) {
  const deadline = Number(headers.get('lambda-runtime-deadline-ms'))
  traceId = headers.get('lambda-runtime-trace-id')
  return {
    functionName,
    functionVersion,
    memoryLimitInMB,
    logGroupName,
    logStreamName,
    awsRequestId: headers.get('lambda-runtime-aws-request-id'),
    invokedFunctionArn: headers.get('lambda-runtime-invoked-function-arn'),
    clientContext: json(headers.get('lambda-runtime-client-context')),
    identity: json(headers.get('lambda-runtime-cognito-identity')),
    callbackWaitsForEmptyEventLoop: true,
    getRemainingTimeInMillis: () => deadline - Date.now()
  }
}

function call (handler, event, context) {
  return new Promise((resolve, reject) => {
    finish = { resolve, reject }
    const callback = (error, value) => {
      const settle = () => error === undefined || error === null ? resolve(value) : reject(error)
      if (context.callbackWaitsForEmptyEventLoop) atRest = settle
      else settle()
    }
    context.done = callback
    context.succeed = (value) => callback(null, value)
    context.fail = (error) => callback(error ?? new Error('failed'))
    atRest = () => resolve(null)
    const result = handler(event, context, callback)
    if (typeof result?.then === 'function') {
      atRest = () => reject(Object.assign(new Error('The handler waits for a promise that nothing will settle'), { name: 'Runtime.NodeJsExit' }))
      result.then(resolve, reject)
    }
  })
}

async function stream (handler, event, context) {
  const out = new ResponseStream(context.awsRequestId)
  try {
    await handler(event, out, context)
    if (!out.writableEnded) out.end()
  } catch (error) {
    if (!out.request) throw error // Nothing was sent: an error like any other.
    out.fail(error)
  }
  await out.done
}

async function invoke (handler, { headers, body }) {
  const context = contextOf(headers)
  const where = `invocation/${context.awsRequestId}/`
  try {
    const event = JSON.parse(body)
    if (handler[STREAMING]) return await stream(handler, event, context)
    const value = await call(handler, event, context)
    const result = JSON.stringify(value === undefined ? null : value)
    const sent = post(where + 'response', result)
    // The next event is asked for in the same breath, but behind what is refused for its size the connection may end.
    if (result.length > SMALL) await sent
    else sent.catch(gone)
  } catch (error) {
    await failed(where + 'error', error)
  } finally {
    finish = atRest = undefined
  }
}

process.on('beforeExit', () => {
  const settle = atRest
  atRest = undefined
  settle?.()
})
for (const [event, name] of [['uncaughtException'], ['unhandledRejection', 'Runtime.UnhandledPromiseRejection']]) {
  process.on(event, (error) => {
    if (!finish) {
      console.error(error)
      process.exit(1)
    }
    finish.reject(name && error instanceof Error ? Object.assign(error, { name }) : error)
  })
}

load().then(async (handler) => {
  for (;;) await invoke(handler, await api.send('GET', 'invocation/next').catch(gone))
}, async (error) => {
  console.error(error)
  await failed('init/error', error).catch(() => {})
  process.exit(1)
}).catch(gone)
