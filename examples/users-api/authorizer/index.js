'use strict'
// A TOKEN authorizer as there are many: it runs on AWS Lambda without a change.

// A verified JSON Web Token, or a look-up, would be here.
const callers = { 'ada-has-this-token': 'ada' }
const blocked = ['this-token-was-withdrawn']

const policy = (principalId, effect, resource) => ({
  principalId,
  policyDocument: {
    Version: '2012-10-17',
    Statement: [{ Action: 'execute-api:Invoke', Effect: effect, Resource: resource }]
  },
  context: { name: principalId }
})

exports.handler = function (event, context, callback) {
  const { authorizationToken, methodArn } = event
  if (blocked.includes(authorizationToken)) return callback(null, policy('blocked', 'Deny', methodArn))
  const caller = callers[authorizationToken]
  if (!caller) return callback('Unauthorized')
  // The whole stage: the answer is kept, and asked about the caller's other methods, too.
  const stage = methodArn.split('/').slice(0, 2).join('/')
  callback(null, policy(caller, 'Allow', `${stage}/*`))
}
