import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { assert, give, openClient, pictures, test } from './harness.mjs'

const sha256 = (name) => createHash('sha256').update(readFileSync(pictures[name].path)).digest('hex')

test('a large file is hashed as node:crypto does it, streamed in a worker, with progress', async () => {
  const page = await openClient()
  const workers = []
  page.on('worker', (worker) => workers.push(worker.url()))
  const file = await give(page, 'large.bmp')
  const { digest, progress } = await page.evaluate(async (file) => {
    const progress = []
    return {
      digest: await darkroom.hash(file, { onProgress: (fraction) => progress.push(fraction) }),
      progress,
    }
  }, file)
  assert.equal(digest, sha256('large.bmp'))
  assert.equal(workers.length, 1)
  assert.match(workers[0], /hash-worker\.js$/)
  assert.ok(progress.length > 5, 'progress comes as it goes')
  assert.deepEqual(
    progress,
    progress.toSorted((a, b) => a - b),
  )
  assert.equal(progress.at(-1), 1)
})

test('a small file is hashed without a worker', async () => {
  const page = await openClient()
  page.on('worker', () => assert.fail('no worker is needed'))
  const digest = await page.evaluate((file) => darkroom.hash(file), await give(page, 'product.jpg'))
  assert.equal(digest, sha256('product.jpg'))
})

test('where the worker cannot be loaded the digest is the same', async () => {
  const page = await openClient()
  await page.route('**/hash-worker.js', (route) => route.abort())
  assert.equal(
    await page.evaluate((file) => darkroom.hash(file), await give(page, 'large.bmp')),
    sha256('large.bmp'),
  )
})

test('without WebCrypto even a small file goes to the worker', async () => {
  const page = await openClient() // as on a page of plain http
  await page.evaluate(() => Object.defineProperty(crypto, 'subtle', { value: undefined }))
  assert.equal(
    await page.evaluate((file) => darkroom.hash(file), await give(page, 'product.jpg')),
    sha256('product.jpg'),
  )
})

test('an aborted hash ends its worker', async () => {
  const page = await openClient()
  const started = page.waitForEvent('worker')
  const file = await give(page, 'large.bmp')
  const rejected = page.evaluate(async (file) => {
    window.stop = new AbortController()
    return darkroom
      .hash(file, { signal: window.stop.signal, onProgress: () => window.stop.abort('enough') })
      .then(() => null, String)
  }, file)
  const worker = await started
  if (page.workers().includes(worker)) await worker.waitForEvent('close')
  assert.equal(await rejected, 'enough')
})
