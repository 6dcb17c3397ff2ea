import { createHash } from 'node:crypto'
import { openAsBlob, readFileSync } from 'node:fs'
import * as tus from 'tus-js-client'
import {
  createDarkroom,
  DarkroomError,
  buildOpKey,
  parseOpKey,
} from '../../../clients/js/darkroom.js'
import { assert, local, pictures, Relay, signUp, test } from './harness.mjs'
import { ask } from './accounts.mjs'
import { freshKey } from './jobs.mjs'

test('the module does the whole job under Node', async () => {
  const darkroom = createDarkroom({ apiUrl: local.api_url })
  const file = await openAsBlob(pictures['product.jpg'].path)
  const result = await darkroom.process(file, freshKey(), { filename: 'from\nnode.jpg' })
  assert.equal(result.cached, false)
  assert.equal(
    result.sha256,
    createHash('sha256').update(readFileSync(pictures['product.jpg'].path)).digest('hex'),
  )
  assert.equal(darkroom.canRunLocally('convert-v1', result.meta), false)
  const bytes = await (await fetch(result.output_urls[0])).bytes()
  assert.equal(createHash('sha256').update(bytes).digest('hex'), result.output.sha256)
})

test('a visitor who gets a hit keeps it by claiming, as a job of their own', async () => {
  const visitor = createDarkroom({ apiUrl: local.api_url })
  const file = await openAsBlob(pictures['product.jpg'].path)
  const key = freshKey()
  const made = await visitor.process(file, key)
  const hit = await visitor.process(file, key)
  assert.equal(hit.cached, true)
  assert.equal(hit.output.image_id, null)
  assert.notEqual(hit.job_id, made.job_id)
  assert.deepEqual((await visitor.job(hit.job_id)).output, made.output)
  const token = await signUp()
  const user = createDarkroom({ apiUrl: local.api_url, getAccessToken: () => token })
  const [mine] = await user.claim([hit.job_id])
  assert.ok(![made.job_id, hit.job_id].includes(mine))
  const { output } = await user.job(mine)
  assert.equal(output.sha256, made.output.sha256)
  const kept = await user.output(output.output_id)
  assert.deepEqual([kept.image_id, kept.job_id], [output.image_id, mine])
  assert.equal((await fetch(kept.url)).status, 200)
  assert.deepEqual(await user.claim([hit.job_id, made.job_id]), [mine, made.job_id])
  assert.deepEqual((await visitor.job(hit.job_id)).output, made.output)
})

test('several results of one file take one upload, and one that cannot be had leaves the others', async () => {
  const token = await signUp()
  const { sub } = JSON.parse(Buffer.from(token.split('.')[1], 'base64url'))
  await ask((sql) => sql`update profiles set plan_id = 'pro' where user_id = ${sub}`)
  const darkroom = createDarkroom({ apiUrl: local.api_url, getAccessToken: () => token })
  const file = await openAsBlob(pictures['product.jpg'].path)
  const keys = [freshKey(), 'resize-v9:width-3', freshKey('smartcrop-v1:aspect-1x1+resize-v1')]
  const stages = []
  const outcomes = await darkroom.processAll(file, keys, { onStage: (stage) => stages.push(stage) })
  assert.deepEqual(
    outcomes.map(({ op_key }) => op_key),
    keys,
  )
  assert.equal(outcomes[1].error.code, 'unknown_op')
  for (const { result } of [outcomes[0], outcomes[2]]) {
    assert.equal(result.cached, false)
    assert.equal((await fetch(result.output_urls[0])).status, 200)
  }
  assert.equal(outcomes[2].result.output.width, outcomes[2].result.output.height)
  assert.equal(stages.filter(({ stage, progress }) => stage === 'upload' && progress === 0).length, 1)
  assert.deepEqual(
    new Set(stages.filter(({ stage }) => stage === 'done').map(({ op_key }) => op_key)),
    new Set([keys[0], keys[2]]),
  )
  const again = await darkroom.processAll(file, [keys[2], keys[0]])
  assert.deepEqual(
    again.map(({ result }) => result.cached),
    [true, true],
  )
})

test('under Node a large file goes by TUS where the library is given', async () => {
  const darkroom = createDarkroom({ apiUrl: local.api_url, modules: { tus: async () => tus } })
  const methods = new Set()
  const onStage = (stage) => {
    if (stage.stage === 'upload' && stage.progress > 0) methods.add(stage.method)
  }
  await darkroom.process(await openAsBlob(pictures['large.bmp'].path), freshKey(), { onStage })
  assert.deepEqual([...methods], ['tus'])
})

test('a broken event stream is taken up after the last event', async () => {
  const relay = await new Relay(local.api_url).listen()
  const darkroom = createDarkroom({ apiUrl: relay.url })
  const file = await openAsBlob(pictures['product.jpg'].path)
  const meta = await darkroom.precheck(file)
  const answer = await darkroom.intake({
    ...meta,
    sha256: await darkroom.hash(file),
    filename: 'x.jpg',
    op_key: freshKey(),
  })
  const seen = []
  const broken = Promise.withResolvers()
  relay.onReceived = (chunk, cut) => {
    if (!/^id:/m.test(chunk.toString('latin1'))) return
    relay.onReceived = () => {}
    cut()
    broken.resolve()
  }
  const watching = darkroom.watch(answer.job_id, {
    onEvent: (job, event) => seen.push({ status: job.status, ...event }),
  })
  await broken.promise
  await darkroom.upload(answer, file, { contentType: meta.content_type })
  await darkroom.uploaded(answer.job_id)
  assert.equal((await watching).status, 'done')
  relay.close()
  assert.deepEqual(
    seen.map(({ via }) => via).filter((via) => via !== 'sse'),
    [],
  )
  assert.match(relay.heard, /last-event-id: \d+/i)
})

test('watching a job that does not exist is refused at once', async () => {
  const darkroom = createDarkroom({ apiUrl: local.api_url })
  const unknown = darkroom.watch('00000000-0000-4000-8000-000000000000')
  await assert.rejects(
    unknown,
    (error) => error instanceof DarkroomError && error.status === 404 && !error.retryable,
  )
})

test('a token is asked for at every request and sent as bearer', async () => {
  const sent = []
  const darkroom = createDarkroom({
    apiUrl: `${local.api_url}/`,
    getAccessToken: async () => 'not-a-token',
    fetch: (url, init) => {
      sent.push([url, new Headers(init.headers).get('authorization')])
      return fetch(url, init)
    },
  })
  await assert.rejects(
    darkroom.job('00000000-0000-4000-8000-000000000000'),
    (error) => error.status === 401 && error.source === 'api',
  )
  assert.deepEqual(sent, [
    [`${local.api_url}/jobs/00000000-0000-4000-8000-000000000000`, 'Bearer not-a-token'],
  ])
})

test('op_keys are written as the server reads them', async () => {
  const darkroom = createDarkroom({ apiUrl: local.api_url })
  const { ops } = await darkroom.ops()
  const op = (key) => ops.find((entry) => entry.key === key)
  assert.equal(
    buildOpKey(op('resize-v1'), { width: 800, height: undefined, fit: 'inside', upscale: true }),
    'resize-v1:upscale-true:width-800',
  )
  const text = 'Darkroom © 24'
  const key = buildOpKey(op('watermark-v1'), { text, tiled: true })
  assert.equal(key, 'watermark-v1:text-_darkroom___.a9.__24:tiled-true')
  assert.deepEqual(parseOpKey(key, ops), [{ key: 'watermark-v1', params: { text, tiled: true } }])
  const file = await openAsBlob(pictures['product.jpg'].path)
  const request = { ...(await darkroom.precheck(file)), sha256: await darkroom.hash(file), filename: 'x.jpg' }
  for (const example of ops.flatMap(({ examples }) => examples)) {
    const written = parseOpKey(example, ops)
      .map(({ key, params }) => buildOpKey(op(key), params))
      .join('+')
    const { op_key } = await darkroom.intake({ ...request, op_key: example })
    assert.equal((await darkroom.intake({ ...request, op_key: written })).op_key, op_key, example)
  }
})

test('a call whose answer is lost is sent once more under its key, and done once', async () => {
  const calls = []
  const losing = (lost) => async (url, init) => {
    const response = await fetch(url, init)
    const body = await response.clone().text()
    calls.push({ url, key: new Headers(init.headers).get('idempotency-key'), response, body })
    if (lost()) throw new TypeError('the connection broke')
    return response
  }
  const file = await openAsBlob(pictures['product.jpg'].path)
  let left = 1
  const darkroom = createDarkroom({ apiUrl: local.api_url, fetch: losing(() => left-- > 0) })
  const meta = await createDarkroom({ apiUrl: local.api_url }).precheck(file)
  const request = { ...meta, sha256: await darkroom.hash(file), filename: 'x.jpg', op_key: freshKey() }
  const answer = await darkroom.intake(request)
  assert.equal(calls.length, 2)
  assert.match(calls[0].key, /^[0-9a-f-]{32,36}$/)
  assert.equal(calls[1].key, calls[0].key)
  assert.equal(calls[1].response.headers.get('idempotent-replayed'), 'true')
  assert.equal(calls[1].body, calls[0].body)
  assert.equal(answer.job_id, JSON.parse(calls[0].body).job_id)

  left = 2
  await assert.rejects(darkroom.cancel(answer.job_id), (error) => error.code === 'network')
  assert.equal(calls.length, 4)
  assert.notEqual(calls[2].key, calls[0].key)
  calls.length = 0
  await darkroom.ops()
  assert.equal(calls[0].key, null) // what changes nothing carries none
})
