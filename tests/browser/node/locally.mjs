import { assert, give, openClient, rejection, test } from './harness.mjs'

/** Runs an op on the client; pixels at the centres of the four quadrants, and facts about the file. */
const locally = async (page, name, key) =>
  page.evaluate(
    async ({ file, key }) => {
      const { blob, ...facts } = await darkroom.local(file, key)
      return { ...facts, ...(await window.look(blob)) }
    },
    { file: await give(page, name), key },
  )

/** Adds `look(blob)` to the page. */
async function prepare() {
  const page = await openClient()
  await page.evaluate(() => {
    window.look = async (blob) => {
      const bitmap = await createImageBitmap(blob)
      const context = new OffscreenCanvas(bitmap.width, bitmap.height).getContext('2d')
      context.drawImage(bitmap, 0, 0)
      const at = (x, y) => [
        ...context.getImageData(Math.floor(bitmap.width * x), Math.floor(bitmap.height * y), 1, 1).data,
      ]
      const text = new TextDecoder('latin1').decode(await blob.arrayBuffer())
      return {
        size: [bitmap.width, bitmap.height],
        type: blob.type,
        exif: /Exif|Secret Camera/.test(text),
        corners: [at(0.25, 0.25), at(0.75, 0.25), at(0.25, 0.75), at(0.75, 0.75)],
      }
    }
  })
  return page
}

const COLOURS = [
  [220, 40, 30, 255],
  [40, 180, 60, 255],
  [30, 60, 210, 255],
  [240, 200, 40, 255],
]

function assertColours(found, expected, tolerance = 12) {
  found.forEach((pixel, corner) =>
    pixel.forEach((value, channel) =>
      assert.ok(
        Math.abs(value - expected[corner][channel]) <= tolerance,
        `corner ${corner}: ${found[corner]} is not ${expected[corner]}`,
      ),
    ),
  )
}

test('resize and convert on the client give the right pixels', async () => {
  const page = await prepare()
  const result = await locally(page, 'quadrants.jpg', 'resize-v1:width-320+convert-v1:format-png')
  assert.deepEqual(result.size, [320, 200])
  assert.equal(result.type, 'image/png')
  assertColours(result.corners, COLOURS)
})

test('orientation is baked in and EXIF is stripped', async () => {
  const page = await prepare()
  const result = await locally(page, 'turned.jpg', 'convert-v1:format-jpeg')
  assert.deepEqual(result.size, [400, 640])
  assertColours(result.corners, [COLOURS[2], COLOURS[0], COLOURS[3], COLOURS[1]]) // a quarter turn clockwise
  assert.equal(result.exif, false)
})

test('transparency is kept, and turns white in JPEG', async () => {
  const page = await prepare()
  const [, ...rest] = COLOURS
  const kept = await locally(page, 'hole.png', 'convert-v1:format-png')
  assertColours(kept.corners, [[0, 0, 0, 0], ...rest], 1)
  const flat = await locally(page, 'hole.png', 'convert-v1:format-jpeg')
  assertColours(flat.corners, [[255, 255, 255, 255], ...rest])
})

test('the client makes the same picture as the server', async () => {
  const page = await prepare()
  const keys = [
    'resize-v1:width-301',
    'resize-v1:height-75',
    'resize-v1:width-2000',
    'resize-v1:upscale-true:width-1001',
    'resize-v1:fit-cover:height-200:width-200',
    'resize-v1:fit-cover:height-900:width-700',
    'resize-v1:fit-contain:height-300:width-300',
    'resize-v1:fit-fill:height-300:width-300',
    'resize-v1:height-120:width-500',
  ]
  const file = await give(page, 'quadrants.jpg')
  for (const key of keys.map((key) => `${key}+convert-v1:format-png`)) {
    const here = await locally(page, 'quadrants.jpg', key)
    const there = await page.evaluate(
      async ({ file, key }) => {
        const { output_urls } = await darkroom.process(file, key)
        return window.look(await (await fetch(output_urls[0])).blob())
      },
      { file, key },
    )
    assert.deepEqual(here.size, there.size, key)
    assertColours(here.corners, there.corners)
  }
})

test('nothing is sent when a picture is processed on the client', async () => {
  const page = await prepare()
  page.on('request', (request) => {
    if (!request.url().startsWith('blob:')) assert.fail(`asked for ${request.url()}`)
  })
  await locally(page, 'quadrants.jpg', 'resize-v1:width-100')
})

test('what the canvas cannot do is left to the server', async () => {
  const page = await prepare()
  const can = (key, meta = {}) =>
    page.evaluate(
      ({ key, meta }) =>
        darkroom.canRunLocally(key, { content_type: 'image/jpeg', width: 2048, height: 1000, ...meta }),
      { key, meta },
    )
  assert.equal(await can('resize-v1:width-800'), true)
  assert.equal(await can('convert-v1'), true)
  assert.equal(await can('resize-v1:width-800', { width: 2049 }), false)
  assert.equal(await can('resize-v1:upscale-true:width-4000'), false)
  assert.equal(await can('resize-v1:width-800', { content_type: 'image/heic' }), false)
  assert.equal(await can('convert-v1:format-avif'), false)
  assert.equal(await can('convert-v1:lossless-true'), false)
  assert.equal(await can('convert-v1:quality-auto'), false)
  assert.equal(await can('convert-v1:format-jpeg:progressive-false'), false)
  assert.equal(await can('bgremove-v1'), false)
  assert.equal(await can('resize-v1:width-80+enhance-v1'), false)
  const error = await rejection(
    page,
    (file) => darkroom.local(file, 'bgremove-v1'),
    await give(page, 'quadrants.jpg'),
  )
  assert.equal(error.code, 'not_local')
})
