import { randomBytes } from 'node:crypto'
import {
  assert,
  give,
  local,
  openClient,
  prepareClient,
  rejection,
  signUp,
  supabase,
  test,
} from './harness.mjs'

/** An op_key that nobody has asked for, so that no test meets another's cache entry. */
export const freshKey = (name = 'resize-v1') =>
  `${name}:width-${100 + (randomBytes(2).readUInt16LE() % 500)}+watermark-v1:text-${randomBytes(6).toString('hex')}`

/** The whole job; its stages and result. */
const whole = (page, file, key) =>
  page.evaluate(
    async ({ file, key }) => {
      const stages = []
      const result = await darkroom.process(file, key, { onStage: (stage) => stages.push(stage) })
      return { stages, result }
    },
    { file, key },
  )

test('a job goes through every stage, and the second time it is a cache hit', async () => {
  const page = await openClient()
  const file = await give(page, 'product.jpg')
  const key = freshKey()
  const first = await whole(page, file, key)
  assert.equal(first.result.cached, false)
  const names = first.stages.map(({ stage }) => stage)
  for (const [before, after] of [
    ['precheck', 'hash'],
    ['hash', 'intake'],
    ['intake', 'upload'],
    ['upload', 'done'],
  ]) {
    assert.ok(
      names.includes(before) && names.lastIndexOf(before) < names.indexOf(after) + (after === 'done' ? 1 : 0),
      `${before} before ${after}: ${names}`,
    )
  }
  assert.equal(first.stages.filter(({ stage }) => stage === 'upload').at(-1).progress, 1)
  for (const stage of ['precheck', 'hash', 'intake', 'upload', 'run', 'total'])
    assert.ok(first.result.timings[stage] >= 0, stage)
  const second = await whole(page, file, key)
  assert.equal(second.result.cached, true)
  assert.equal(second.result.output.sha256, first.result.output.sha256)
  assert.ok(!second.stages.some(({ stage }) => stage === 'upload' || stage === 'running'))
  const [size, thumb] = await page.evaluate(
    async ({ output_urls, thumbnail_url }) =>
      Promise.all(
        [output_urls[0], thumbnail_url].map(async (url) =>
          createImageBitmap(await (await fetch(url)).blob()).then(({ width, height }) => [width, height]),
        ),
      ),
    second.result,
  )
  assert.deepEqual(size, [second.result.output.width, second.result.output.height])
  assert.ok(Math.max(...thumb) <= 256)
})

test('a broken upload above 6 MB is resumed where it stopped', async () => {
  const page = await openClient()
  const file = await give(page, 'large.bmp')
  const requests = []
  page.on('request', (request) => {
    if (request.url().includes('/upload/resumable')) requests.push(request)
  })
  const cut = supabase.cutAfterSending(9 * 1024 * 1024) // in the middle of the second chunk
  const { result, stages } = await whole(page, file, freshKey())
  await cut
  assert.equal(result.cached, false)
  assert.ok(stages.some(({ stage, method }) => stage === 'upload' && method === 'tus'))
  assert.equal(
    requests.filter((request) => request.method() === 'POST').length,
    1,
    'the upload was created once',
  )
  const heads = requests.filter((request) => request.method() === 'HEAD')
  assert.equal(heads.length, 1, 'the offset was asked for after the break')
  const resumedAt = Number((await (await heads[0].response()).allHeaders())['upload-offset'])
  assert.ok(resumedAt >= 6 * 1024 * 1024, `resumed at ${resumedAt}`)
})

test('after a reload of the page a signed-in user goes on with the same upload', async () => {
  const token = await signUp()
  const key = freshKey()
  const page = await openClient(token)
  await page.route('**/upload/resumable/**', (route) =>
    route.request().method() === 'HEAD' ? undefined : route.continue(),
  )
  const cut = supabase.cutAfterSending(9 * 1024 * 1024)
  const asked = page.waitForRequest((request) => request.method() === 'HEAD') // and gets no answer any more
  const file = await give(page, 'large.bmp')
  await page.evaluate(({ file, key }) => void darkroom.process(file, key), { file, key })
  await cut
  await asked

  await page.reload() // before the answer is let through: the page that is left must not go on with the upload
  await page.unrouteAll({ behavior: 'ignoreErrors' })
  await prepareClient(page, token)
  const methods = []
  page.on(
    'request',
    (request) => request.url().includes('/upload/resumable') && methods.push(request.method()),
  )
  const { result } = await whole(page, await give(page, 'large.bmp'), key)
  assert.equal(result.cached, false)
  assert.deepEqual([methods[0], methods.includes('POST')], ['HEAD', false])
})

test('a broken plain PUT is tried again', async () => {
  const page = await openClient()
  let broken = 0
  await page.route(
    '**/object/upload/sign/**',
    (route) => (broken++ ? route.continue() : route.abort('connectionreset')),
    { times: 2 },
  )
  const { result } = await whole(page, await give(page, 'product.jpg'), freshKey())
  assert.equal(result.cached, false)
  assert.equal(broken, 2)
})

test('without tus-js-client a large file goes by one PUT', async () => {
  const page = await openClient()
  await page.route('**/vendor/tus.js', (route) => route.abort())
  const { stages } = await whole(page, await give(page, 'large.bmp'), freshKey())
  assert.deepEqual(
    [...new Set(stages.filter(({ stage }) => stage === 'upload').map(({ method }) => method))],
    ['put'],
  )
})

test('where events are blocked, polling brings the result', async () => {
  const page = await openClient()
  await page.route('**/jobs/*/events', (route) => route.abort())
  const polls = []
  page.on('request', (request) => {
    if (/\/jobs\/[^/]+$/.test(request.url()) && request.method() === 'GET') polls.push(request)
  })
  const { result } = await whole(page, await give(page, 'product.jpg'), freshKey())
  assert.equal(result.output_urls.length, 1)
  assert.ok(polls.length >= 1)
})

test('where something holds the event stream back, polling brings the result', async () => {
  const page = await openClient()
  const stuck = page.waitForRequest('**/jobs/*/events')
  await page.route('**/jobs/*/events', () => {}) // never answered
  const polled = page.waitForRequest(
    (request) => /\/jobs\/[^/]+$/.test(request.url()) && request.method() === 'GET',
  )
  const done = whole(page, await give(page, 'product.jpg'), freshKey())
  await stuck
  await polled
  assert.equal((await done).result.output_urls.length, 1)
})

test('a job whose picture is damaged fails with the problem of the worker', async () => {
  const page = await openClient()
  const file = await give(page, 'damaged.jpg')
  const error = await rejection(page, ({ file, key }) => darkroom.process(file, key), {
    file,
    key: freshKey(),
  })
  assert.deepEqual([error.name, error.source, error.code], ['DarkroomError', 'job', 'corrupt_image'])
})

test('a problem of the API arrives whole', async () => {
  const page = await openClient()
  const problem = await page.evaluate(
    async (file) =>
      darkroom
        .process(file, 'resize-v1:width-0')
        .catch((error) => ({ ...error.problem, source: error.source })),
    await give(page, 'product.jpg'),
  )
  assert.equal(problem.source, 'api')
  assert.equal(problem.status, 422)
  assert.equal(problem.code, 'bad_parameter')
  assert.equal(problem.retryable, false)
  assert.ok(problem.detail.includes('width'))
  assert.ok(problem.request_id)
})

test('an API that is away is a network error to be tried again', async () => {
  const page = await openClient()
  await page.route('**/ops', (route) => route.abort())
  const first = await rejection(page, () => darkroom.ops())
  assert.deepEqual([first.code, first.source, first.retryable], ['network', 'network', true])
  await page.unroute('**/ops')
  assert.ok(
    await page.evaluate(async () => (await darkroom.ops()).ops.length),
    'the failure was not remembered',
  )
})

test('aborting an upload cancels the job', async () => {
  const page = await openClient()
  const cancelled = page.waitForResponse((response) => response.request().method() === 'DELETE')
  const file = await give(page, 'large.bmp')
  const outcome = await page.evaluate(
    async ({ file, key }) => {
      const stop = new AbortController()
      const onStage = (stage) => {
        if (stage.stage === 'upload' && stage.progress > 0.1) stop.abort(new Error('never mind'))
      }
      return darkroom.process(file, key, { signal: stop.signal, onStage }).then(
        () => null,
        (error) => error.message,
      )
    },
    { file, key: freshKey() },
  )
  assert.equal(outcome, 'never mind')
  assert.equal((await (await cancelled).json()).status, 'canceled')
})

test('a page of another origin can use the module of the API as it is', async () => {
  const page = await openClient()
  const other = await page.context().newPage()
  await other.goto(`${local.supabase_url}/auth/v1/health`) // any origin that is not the API's
  await other.setContent('<input type="file" id="given">')
  const file = await give(other, 'large.bmp')
  const workers = []
  other.on('worker', (worker) => workers.push(worker))
  const same = await other.evaluate(
    async ({ file, api }) => {
      const { createDarkroom } = await import(`${api}/static/darkroom.js`)
      const result = await createDarkroom({ apiUrl: api }).process(file, 'resize-v1:width-90')
      return result.sha256.length === 64 && result.output_urls.length === 1
    },
    { file, api: local.api_url },
  )
  assert.equal(same, true)
  assert.equal(workers.length, 1, 'the hash worker ran across origins')
})
