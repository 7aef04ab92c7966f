'use strict'
// Hands out pre-signed URLs: what is uploaded and downloaded passes by neither the gateway nor the function.
const { createHash, createHmac, randomUUID } = require('node:crypto')

const { BUCKET, S3_ENDPOINT, AWS_REGION, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN } = process.env
const EXPIRES_S = 300

const hmac = (key, text) => createHmac('sha256', key).update(text).digest()
// RFC 3986: what encodeURIComponent leaves and AWS does not.
const encoded = (text) =>
  encodeURIComponent(text).replace(/[!'()*]/g, (c) => '%' + c.charCodeAt(0).toString(16).toUpperCase())

/** A URL that lets whoever has it send one request (Signature Version 4 by query parameters). */
const presigned = (method, key) => {
  const endpoint = new URL(S3_ENDPOINT || `https://s3.${AWS_REGION}.amazonaws.com`)
  const path = `/${BUCKET}/${key.split('/').map(encoded).join('/')}`
  const time = new Date().toISOString().replace(/[-:]|\.\d{3}/g, '')
  const scope = `${time.slice(0, 8)}/${AWS_REGION}/s3/aws4_request`
  const query = {
    'X-Amz-Algorithm': 'AWS4-HMAC-SHA256',
    'X-Amz-Credential': `${AWS_ACCESS_KEY_ID}/${scope}`,
    'X-Amz-Date': time,
    'X-Amz-Expires': String(EXPIRES_S),
    ...(AWS_SESSION_TOKEN && { 'X-Amz-Security-Token': AWS_SESSION_TOKEN }),
    'X-Amz-SignedHeaders': 'host'
  }
  const parameters = Object.entries(query).map(([name, value]) => `${name}=${encoded(value)}`).sort().join('&')
  const request = [method, path, parameters, `host:${endpoint.host}\n`, 'host', 'UNSIGNED-PAYLOAD'].join('\n')
  const hash = createHash('sha256').update(request).digest('hex')
  const signingKey = scope.split('/').reduce(hmac, `AWS4${AWS_SECRET_ACCESS_KEY}`)
  const signature = hmac(signingKey, ['AWS4-HMAC-SHA256', time, scope, hash].join('\n')).toString('hex')
  return `${endpoint.origin}${path}?${parameters}&X-Amz-Signature=${signature}`
}

exports.handler = async (event) => {
  if (event.httpMethod === 'POST') {
    const key = randomUUID()
    return {
      statusCode: 201,
      headers: { 'Content-Type': 'application/json', Location: `/${event.requestContext.stage}/files/${key}` },
      body: JSON.stringify({ key, url: presigned('PUT', key), expiresIn: EXPIRES_S })
    }
  }
  // Browsers and curl -L follow it without another line of code.
  return { statusCode: 307, headers: { Location: presigned('GET', event.pathParameters.key) }, body: '' }
}
