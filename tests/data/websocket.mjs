// A WebSocket server and client of the npm package ws, for tests through a tunnel.
// node websocket.mjs PACKAGE_FOLDER serve           prints its port; echoes, and closes with 4001 on the text "close me"
// node websocket.mjs PACKAGE_FOLDER ask URL         runs the cases and prints "ok N"
import { createRequire } from 'node:module'
import path from 'node:path'

const [folder, what, url] = process.argv.slice(2)
const { WebSocket, WebSocketServer } = createRequire(path.join(folder, 'package.json'))(folder)
const MAX = 64 * 1024 * 1024

if (what === 'serve') {
  const server = new WebSocketServer({
    port: 0, host: '127.0.0.1', perMessageDeflate: true, maxPayload: MAX,
    handleProtocols: protocols => [...protocols].includes('chat.v2') ? 'chat.v2' : false
  })
  server.on('listening', () => console.log(server.address().port))
  server.on('connection', socket => {
    socket.on('message', (data, binary) => {
      if (!binary && data.toString() === 'close me') return socket.close(4001, 'as asked')
      socket.send(data, { binary, compress: data.length % 2 === 0 })
    })
    socket.on('error', () => {})
  })
} else {
  const once = (socket, event) => new Promise((resolve, reject) => {
    socket.once(event, (...args) => resolve(args))
    socket.once('error', reject)
  })
  const equal = (a, b, why) => { if (a !== b) throw new Error(`${why}: expected ${b}, got ${a}`) }
  let cases = 0
  const socket = new WebSocket(url, ['chat.v1', 'chat.v2'], { maxPayload: MAX })
  await once(socket, 'open')
  equal(socket.protocol, 'chat.v2', 'the subprotocol')
  equal(socket.extensions, 'permessage-deflate', 'the extension')
  for (const size of [0, 1, 125, 126, 127, 128, 65535, 65536, 1 << 20, 16 << 20]) {
    for (const binary of [false, true]) {
      const sent = Buffer.alloc(size, binary ? 0xfe : 'x')
      const answer = once(socket, 'message')
      socket.send(sent, { binary })
      const [data, isBinary] = await answer
      equal(isBinary, binary, `kind of ${size}`)
      equal(Buffer.compare(data, sent), 0, `echo of ${size}`)
      cases++
    }
  }
  // One message in fragments with pings between them.
  const whole = once(socket, 'message')
  const pongs = []
  socket.on('pong', data => pongs.push(data.toString()))
  for (let i = 0; i < 10; i++) {
    socket.send(`part ${i} `, { fin: i === 9 })
    socket.ping(`ping ${i}`)
  }
  equal((await whole)[0].toString(), Array.from({ length: 10 }, (_, i) => `part ${i} `).join(''), 'fragments')
  while (pongs.length < 10) await once(socket, 'pong')
  equal(pongs.join(), Array.from({ length: 10 }, (_, i) => `ping ${i}`).join(), 'pongs')
  cases += 2
  // Many small ones under way at once.
  const many = new Promise(resolve => {
    let n = 0
    socket.on('message', data => { equal(data.toString(), String(n), 'order'); if (++n === 5000) resolve() })
  })
  for (let i = 0; i < 5000; i++) socket.send(String(i))
  await many
  socket.removeAllListeners('message')
  cases++
  socket.send('close me')
  const [code, reason] = await once(socket, 'close')
  equal(code, 4001, 'close code of the server')
  equal(reason.toString(), 'as asked', 'close reason')
  const second = new WebSocket(url)
  await once(second, 'open')
  second.close(4002, 'enough')
  equal((await once(second, 'close'))[0], 4002, 'close code of the client, echoed')
  console.log(`ok ${cases + 2}`)
}
