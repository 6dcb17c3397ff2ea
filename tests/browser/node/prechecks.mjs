import { assert, give, openClient, pictures, rejection, test } from './harness.mjs'

test('type and dimensions of every format come from the header', async () => {
  const page = await openClient()
  await page.evaluate(() => {
    window.createImageBitmap = () => {
      throw new Error('nothing may be decoded')
    }
  })
  const good = Object.entries(pictures).filter(([, facts]) => facts.format)
  assert.ok(good.length >= 13)
  for (const [name, { width, height, content_type }] of good) {
    const meta = await page.evaluate((file) => darkroom.precheck(file), await give(page, name))
    delete meta.size
    assert.deepEqual(meta, { content_type, width, height }, name)
  }
})

test('what the server would refuse is refused before anything is sent, with its reason', async () => {
  const page = await openClient()
  page.on('request', (request) => assert.fail(`asked for ${request.url()}`))
  for (const [name, { code, says }] of Object.entries(pictures).filter(([, facts]) => facts.code)) {
    const error = await rejection(page, (file) => darkroom.precheck(file), await give(page, name))
    assert.equal(error?.code, code, name)
    assert.equal(error.name, 'DarkroomError')
    assert.equal(error.source, 'client')
    assert.ok(error.message.includes(says), `${name}: ${error.message}`)
  }
})

test('the limits of the server are obeyed', async () => {
  const page = await openClient()
  const file = await give(page, 'quadrants.jpg')
  const under = (change) =>
    page.evaluate(
      async ({ file, change }) => {
        const { limits } = await darkroom.ops()
        return darkroom.precheck(file, { limits: { ...limits, ...change } }).then(
          () => 'ok',
          (error) => error.code,
        )
      },
      { file, change },
    )
  assert.equal(await under({}), 'ok')
  assert.equal(await under({ max_bytes: 1000 }), 'too_large')
  assert.equal(await under({ max_side: 639 }), 'too_many_pixels')
  assert.equal(await under({ max_pixels: 640 * 400 - 1 }), 'too_many_pixels')
  assert.equal(await under({ content_types: ['image/png'] }), 'unsupported_type')
})

test('a drawing is taken where the server takes drawings, at the size that the server gives it', async () => {
  const page = await openClient()
  const size = (file, change = {}) =>
    page.evaluate(
      async ({ file, change }) => {
        const { limits } = await darkroom.ops()
        return darkroom.precheck(file, { limits: { ...limits, ...change } }).then(
          ({ width, height }) => `${width} × ${height}`,
          (error) => `${error.code}: ${error.message}`,
        )
      },
      { file, change },
    )
  const drawing = await give(page, 'framed.svg')
  assert.equal(await size(drawing), '321 × 203')
  assert.equal(await size(drawing, { max_side: 100 }), '100 × 63')
  assert.match(await size(drawing, { content_types: ['image/png'] }), /^unsupported_type: SVG is not accepted here/)
})
