// Runs tests of the npm package http-cache-tests against a cache and prints {"id": {"kind": …, "passed": …, "why": …}}.
// node cache-tests.mjs PACKAGE_FOLDER BASE_URL [ID…]
import { createRequire } from 'node:module'
import path from 'node:path'
import { pathToFileURL } from 'node:url'

const [folder, base, ...ids] = process.argv.slice(2)
const load = name => import(pathToFileURL(path.join(folder, name)).href)
const fetch = createRequire(path.join(folder, 'package.json'))('node-fetch')
const { runTests, getResults } = await load('client/runner.mjs')
const { default: suites } = await load('tests/index.mjs')
const { default: surrogate } = await load('tests/surrogate-control.mjs')

const wanted = test => !test.browser_only && (ids.length === 0 || ids.includes(test.id))
const chosen = [...suites, surrogate].map(suite => ({ ...suite, tests: suite.tests.filter(wanted) }))
await runTests(chosen, fetch, false, base)
const results = getResults()
const report = {}
for (const test of chosen.flatMap(suite => suite.tests)) {
  const result = results[test.id]
  const passed = result === true
  report[test.id] = { kind: test.kind ?? 'required', passed, why: passed ? '' : String(result) }
}
console.log(JSON.stringify(report))
