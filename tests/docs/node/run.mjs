// Runs one block: node --import ./hooks.mjs run.mjs NAME, in the project. Whatever answers with an error fails it.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'

const scene = JSON.parse(process.env.SCENE)
const { name, names, refusals } = JSON.parse(process.env.BLOCK)

const refused = []
const pending = new Set()
const plainFetch = globalThis.fetch
globalThis.fetch = (...call) => {
  const answer = plainFetch(...call).then(async (response) => {
    if (!response.ok) refused.push(`${response.status} ${call[0]?.url ?? call[0]}: ${await response.clone().text()}`)
    return response
  })
  pending.add(answer)
  answer.finally(() => pending.delete(answer)).catch(() => {})
  return answer
}
globalThis.confirm = () => true
Object.assign(process.env, {
  NEXT_PUBLIC_SUPABASE_URL: scene.supabase_url,
  NEXT_PUBLIC_SUPABASE_PUBLISHABLE_KEY: scene.publishable_key,
  NEXT_PUBLIC_DARKROOM_URL: scene.api_url,
})
const worker = Promise.withResolvers()
globalThis.postMessage = (message) => ('sha256' in message || 'error' in message) && worker.resolve(message)
globalThis.addEventListener = (_type, listener) => (globalThis.onWorkerMessage = listener)

const module = await import(`./lib/${name}.mjs`)

if (module.useDarkroom) {
  const { render, unmount } = await import('react')
  const { file } = await import('./lib/scene.mjs')
  const shown = () => render(() => module.useDarkroom('resize-v1:width-120'))
  await shown().run(file)
  assert.equal(shown().error, null, shown().error)
  assert.equal(shown().stage.stage, 'done')
  assert.equal(shown().result.output.width, 120)
  unmount()
}
if (globalThis.onWorkerMessage) {
  globalThis.onWorkerMessage({ data: { file: new Blob([readFileSync(scene.mug)]) } })
  assert.deepEqual(await worker.promise, { sha256: scene.mug_sha256 })
}
while (pending.size) await Promise.allSettled(pending)
for (const each of names) {
  const value = module[each]
  assert.notEqual(value, undefined, `\`${each}\` is undefined`)
  if (Array.isArray(value)) assert.notEqual(value.length, 0, `\`${each}\` is an empty list`)
}
const { calls } = await import('./lib/scene.mjs')
assert.equal(refused.length, refusals, refused.join('\n'))
if (refusals) assert.notDeepEqual(calls, [], 'the refusal was not shown to anybody')
process.exit(0)
