'use strict'
// A Lambda function as there are many: it runs on AWS Lambda without a change.

// Gone with the instance; a table would be here.
const users = [
  { id: 1, name: 'Ada' },
  { id: 2, name: 'Grace' }
]

const respond = (statusCode, body) => ({
  statusCode,
  headers: { 'Content-Type': 'application/json', 'Access-Control-Allow-Origin': '*' },
  body: JSON.stringify(body)
})

exports.handler = async (event) => {
  const { httpMethod, path, queryStringParameters, body } = event
  switch (httpMethod) {
    case 'GET': {
      const limit = Number(queryStringParameters?.limit ?? users.length)
      return respond(200, { path, users: users.slice(0, limit) })
    }
    case 'POST': {
      let user
      try {
        user = JSON.parse(body)
      } catch {
        return respond(400, { message: 'The body is not JSON' })
      }
      if (typeof user?.name !== 'string') return respond(400, { message: 'A user needs a name' })
      const made = { id: users.length + 1, name: user.name }
      users.push(made)
      return respond(201, made)
    }
    default:
      return respond(405, { message: `Method ${httpMethod} is not allowed` })
  }
}
