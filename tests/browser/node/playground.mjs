import { readFileSync } from 'node:fs'
import { assert, local, openPlayground, pictures, test } from './harness.mjs'
import { freshKey } from './jobs.mjs'

/** Drops a picture of the test on the page, as a file manager does. */
async function drop(page, name) {
  const { path, content_type: type } = pictures[name]
  const transfer = await page.evaluateHandle(
    ({ base64, name, type }) => {
      const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0))
      const transfer = new DataTransfer()
      transfer.items.add(new File([bytes], name, { type }))
      return transfer
    },
    { base64: readFileSync(path).toString('base64'), name, type },
  )
  await page.dispatchEvent('body', 'drop', { dataTransfer: transfer })
}

const chosen = (page) => page.waitForSelector('#run:enabled')

/** Presses the button and waits for the end. */
export async function develop(page) {
  await page.click('#run')
  await page.waitForSelector('#result:not([hidden]), #problem:not([hidden])')
}

const stage = (page, name) =>
  page.$eval(`[data-stage=${name}]`, (item) => [item.dataset.state, item.querySelector('.value').textContent])

test('dropping a picture shows it, and dropping it again after the job is a cache hit', async () => {
  const page = await openPlayground({ reducedMotion: 'no-preference' })
  const key = freshKey()
  for (const kind of ['fresh', 'hit']) {
    await drop(page, 'product.jpg')
    await chosen(page)
    assert.match(await page.textContent('#file-facts'), /^800 × 600, .* kB, JPEG$/)
    await page.fill('#op-key', key)
    await develop(page)
    assert.equal(await page.getAttribute('#badge', 'data-kind'), kind)
    assert.equal((await stage(page, 'upload'))[0], kind === 'hit' ? 'skipped' : 'done')
    assert.match((await stage(page, 'intake'))[1], kind === 'hit' ? /^hit/ : /^miss/)
    for (const name of ['precheck', 'hash', 'intake'])
      assert.equal((await stage(page, name))[0], 'done', name)
  }
  assert.equal(JSON.parse(await page.textContent('#answer')).cached, true)
  assert.deepEqual(page.complaints, [])
})

test('the slider shows original and result, by mouse and by keyboard', async () => {
  const page = await openPlayground()
  await page.setInputFiles('#file', pictures['product.jpg'].path)
  await chosen(page)
  await page.fill('#op-key', 'enhance-v1:contrast-30')
  await develop(page)
  const slider = page.locator('.slider input')
  const split = () => page.$eval('.slider', (element) => element.style.getPropertyValue('--split'))
  assert.equal(await split(), '50%')
  await slider.press('Home')
  assert.equal(await split(), '0%')
  await slider.press('End')
  assert.equal(await split(), '100%')
  const box = await slider.boundingBox()
  await page.mouse.click(box.x + box.width * 0.25, box.y + box.height / 2)
  assert.ok(Math.abs(parseFloat(await split()) - 25) < 3, await split())
  assert.ok(
    await page.$$eval(
      '.slider img',
      (images) => images.length === 2 && images.every((image) => image.naturalWidth > 0),
    ),
  )
  await page.check('input[value=pair]', { force: true })
  assert.deepEqual(
    await page.$$eval('figcaption', (captions) => captions.map((caption) => caption.textContent)),
    ['Original', 'Result'],
  )
})

test('a photo that lies on its side in the file is told as it is shown', async () => {
  const page = await openPlayground()
  await page.setInputFiles('#file', pictures['turned.jpg'].path)
  await chosen(page)
  assert.match(await page.textContent('#file-facts'), /^400 × 640, .*JPEG$/)
})

test('strokes drawn over the picture become a document, change the cut, and are drawn again', async () => {
  const page = await openPlayground()
  await page.fill('#op-key', 'crop-v1:aspect-1x1+bgremove-v2')
  await page.click('#steps button:has-text("Draw")')
  assert.match(await page.textContent('#toast'), /^Choose a picture first/)
  await page.setInputFiles('#file', pictures['product.jpg'].path)
  await chosen(page)
  await page.click('#steps button:has-text("Draw")')
  assert.match(await page.textContent('#toast'), /before the step that crops it/)
  await page.fill('#op-key', 'bgremove-v2')
  await page.click('#steps button:has-text("Draw")')
  assert.equal(await page.evaluate(() => document.activeElement.value), 'keep')
  const canvas = await page.locator('#brush-canvas').boundingBox()
  const at = (x, y) => [canvas.x + canvas.width * x, canvas.y + canvas.height * y]
  const line = async (mode, ...points) => {
    await page.check(`input[name=brush-mode][value=${mode}]`, { force: true })
    await page.mouse.move(...at(...points[0]))
    await page.mouse.down()
    for (const point of points.slice(1)) await page.mouse.move(...at(...point), { steps: 5 })
    await page.mouse.up()
  }
  await page.fill('#brush-width', '10')
  await line('erase', [0.5, 0.5], [0.52, 0.52])
  await line('keep', [0.06, 0.06])
  await line('erase', [0.9, 0.9])
  assert.equal(await page.textContent('#announce'), '3 strokes')
  await page.keyboard.press('Control+z')
  assert.equal(await page.textContent('#announce'), '2 strokes')
  await page.click('#brush button[type=submit]')
  await page.waitForSelector('#brush', { state: 'hidden' })
  await page.waitForFunction(() => document.activeElement?.textContent === 'Change…')
  const key = await page.inputValue('#op-key')
  assert.match(key, /^bgremove-v2:strokes-[0-9a-f]{64}$/)
  await develop(page)
  const served = await page.getAttribute('#download', 'href')
  const alpha = (x, y) =>
    page.evaluate(
      async ([source, x, y]) => {
        const image = await createImageBitmap(await (await fetch(source)).blob())
        const canvas = new OffscreenCanvas(image.width, image.height)
        const pen = canvas.getContext('2d')
        pen.drawImage(image, 0, 0)
        return pen.getImageData(Math.round(x * image.width), Math.round(y * image.height), 1, 1).data[3]
      },
      [served, x, y],
    )
  assert.equal(await alpha(0.51, 0.51), 0)
  assert.equal(await alpha(0.06, 0.06), 255)

  await page.click('#steps button:has-text("Change…")')
  await page.waitForFunction(() => !document.querySelector('#brush-undo').disabled)
  await page.click('#brush-clear')
  await page.click('#brush button[type=submit]')
  await page.waitForFunction(() => document.querySelector('#op-key').value === 'bgremove-v2')
})

test('a stroke beyond the last point is none', async () => {
  const page = await openPlayground()
  await page.setInputFiles('#file', pictures['product.jpg'].path)
  await chosen(page)
  const digest = await page.evaluate(async () => {
    const points = Array.from({ length: 2000 }, (_, n) => [n / 2000, 0.5])
    const body = JSON.stringify({ kind: 'strokes', strokes: [{ mode: 'keep', width: 0.01, points }] })
    const headers = { 'Content-Type': 'application/json' }
    return (await (await fetch('/inputs', { method: 'POST', headers, body })).json()).digest
  })
  await page.fill('#op-key', `bgremove-v2:strokes-${digest}`)
  await page.click('#steps button:has-text("Change…")')
  await page.waitForFunction(() => !document.querySelector('#brush-undo').disabled)
  await page.click('#brush-canvas')
  assert.match(await page.textContent('#brush-problem'), /undo a stroke/)
  await page.click('#brush button[type=submit]')
  await page.waitForSelector('#brush', { state: 'hidden' })
  assert.equal(await page.inputValue('#op-key'), `bgremove-v2:strokes-${digest}`)
})

test('the download is the result, under a name of its own', async () => {
  const page = await openPlayground()
  await page.setInputFiles('#file', pictures['product.jpg'].path)
  await chosen(page)
  await page.fill('#op-key', 'resize-v1:width-120+convert-v1:format-png')
  await develop(page)
  const answer = await page.request.get(await page.getAttribute('#download', 'href'))
  assert.equal(answer.status(), 200)
  assert.match(answer.headers()['content-disposition'], /attachment.*product-darkroom\.png/)
  assert.equal((await answer.body()).subarray(1, 4).toString(), 'PNG')
})

test('a line under the result says that there are warnings, and its details what they are and how sure each step is', async () => {
  const page = await openPlayground()
  const report = [
    { op: 'bgremove-v2', method: 'model', confidence: 0.62, warnings: ['Look at the hair.'] },
    { op: 'upscale-v2', method: 'lanczos', confidence: null, warnings: ['Look at the hair.'] },
  ]
  let said = []
  await page.route('**/intake', async (route) => {
    const response = await route.fetch()
    const answer = await response.json()
    await route.fulfill({ response, json: answer.cached ? { ...answer, output: { ...answer.output, report: said } } : answer })
  })
  const key = freshKey()
  await drop(page, 'product.jpg')
  await chosen(page)
  await page.fill('#op-key', key)
  await develop(page)
  assert.equal(await page.isVisible('#report'), false)
  said = report
  await develop(page)
  assert.equal(await page.textContent('#report summary'), 'Worth a look: a note on this result')
  const lines = page.locator('#report li')
  assert.equal(await lines.first().isVisible(), false)
  await page.click('#report summary')
  assert.deepEqual(await lines.allInnerTexts(), [
    'Look at the hair.',
    'bgremove-v2: by the model, not sure of the outline',
    'upscale-v2: by resampling, without the model',
  ])
  assert.deepEqual(page.complaints, [])
})

test('the form is drawn from the catalogue and writes the op_key, and the op_key fills the form', async () => {
  const page = await openPlayground()
  const key = () => page.inputValue('#op-key')
  await page.selectOption('#steps select', 'resize-v1')
  assert.equal(await key(), 'resize-v1:width-800')
  await page.getByLabel('Height px').fill('600')
  await page.getByLabel('Fit', { exact: true }).selectOption('cover')
  await page.getByLabel('Allow enlarging').check()
  assert.equal(await key(), 'resize-v1:fit-cover:height-600:upscale-true:width-800')
  await page.getByLabel('Width px').fill('')
  await page.getByLabel('Fit', { exact: true }).selectOption('inside') // the default is left out
  assert.equal(await key(), 'resize-v1:height-600:upscale-true')
  await page.click('#add-step')
  assert.equal(await key(), 'resize-v1:height-600:upscale-true+flatten-v1')
  await page.getByLabel('Background colour', { exact: true }).fill('#F4F4F4')
  assert.equal(await key(), 'resize-v1:height-600:upscale-true+flatten-v1:color-f4f4f4')
  await page.click('text="×" >> nth=0')
  assert.equal(await key(), 'flatten-v1:color-f4f4f4')
  await page.fill('#op-key', 'watermark-v1:opacity-20:text-_sample__only:tiled-true')
  assert.equal(await page.getByLabel('Text', { exact: true }).inputValue(), 'Sample only')
  assert.equal(await page.getByLabel('Repeat').isChecked(), true)
  await page.fill('#op-key', 'nonsense-v9')
  assert.equal(await page.getAttribute('#op-key', 'aria-invalid'), 'true')
  await page.click('.chip >> text=Studio')
  assert.match(await key(), /^compose-v2/)
  assert.equal(await page.getAttribute('#op-key', 'aria-invalid'), 'false')
  await page.click('.chip >> text=White background')
  assert.equal(await key(), 'bgremove-v2+shadow-v2+flatten-v1')
  assert.ok(await page.$$eval('.chip', (chips) => chips.length > 8 && chips.every((chip) => chip.title)))
  assert.deepEqual(page.complaints, [])
})

test('quality shows what it is when left out, and only formats that can be progressive say so', async () => {
  const page = await openPlayground()
  const key = () => page.inputValue('#op-key')
  const quality = () => page.getByLabel('Quality', { exact: true })
  const progressive = page.getByLabel('Progressive')
  await page.fill('#op-key', 'convert-v1')
  assert.equal(await quality().getAttribute('placeholder'), '85')
  assert.equal(await quality().inputValue(), '')
  assert.equal(await progressive.count(), 0)
  await page.getByLabel('Format').selectOption('avif')
  assert.equal(await quality().getAttribute('placeholder'), '65')
  await page.getByLabel('Format').selectOption('jpeg')
  assert.equal(await progressive.isChecked(), true)
  assert.equal(await key(), 'convert-v1:format-jpeg')
  await progressive.uncheck()
  assert.equal(await key(), 'convert-v1:format-jpeg:progressive-false')
  await page.getByLabel('Format').selectOption('webp')
  assert.equal(await key(), 'convert-v1')
  assert.equal(await page.evaluate(() => document.activeElement.id), 'p-0-format')
  await page.getByLabel('Format').selectOption('png')
  assert.equal(await quality().count(), 0)
  assert.equal(await progressive.isChecked(), false)
  assert.deepEqual(page.complaints, [])
})

test('a fault in the op_key is said at once, and all of a long key is seen', async () => {
  const page = await openPlayground()
  for (const [key, said] of [
    ['nonsense-v9', 'There is no op "nonsense-v9" here.'],
    ['resize-v1:width-9000', 'width of resize-v1 must be a whole number from 1 to 8192.'],
    ['resize-v1:fit-round', 'fit of resize-v1 must be inside, contain, cover or fill.'],
    ['resize-v1:colour-red', 'colour of resize-v1 is not one of width, height, fit, upscale.'],
    ['upscale-v2:factor-9', 'factor of upscale-v2 must be 2, 3 or 4.'],
    ['convert-v1:quality-101', 'quality of convert-v1 must be a whole number from 1 to 100.'],
    ['convert-v1:quality-auto', ''],
  ]) {
    await page.fill('#op-key', key)
    assert.equal(await page.textContent('#op-key-fault'), said)
    assert.equal(await page.getAttribute('#op-key', 'aria-invalid'), String(said !== ''))
  }
  await page.fill('#op-key', 'bgremove-v2:trim-true+shadow-v2:angle--40:length-120+flatten-v1:color-f4f4f4+convert-v1:format-jpeg')
  assert.ok(await page.$eval('#op-key', (field) => field.clientHeight > 40 && field.scrollHeight <= field.clientHeight))
})

test('every op of the catalogue can be chosen, and its first form is accepted', async () => {
  const page = await openPlayground()
  await page.setInputFiles('#file', pictures['quadrants.jpg'].path)
  await chosen(page)
  for (const key of await page.$$eval('#steps [aria-label=Operation] option', (options) => options.map((option) => option.value))) {
    await page.selectOption('#steps select', key)
    const answer = await page.evaluate(
      async (op_key) =>
        (
          await fetch('intake', {
            method: 'POST',
            headers: { 'Content-Type': 'application/json' },
            body: JSON.stringify({
              sha256: 'ab'.repeat(32),
              filename: 'x',
              size: 9,
              width: 9,
              height: 9,
              op_key,
            }),
          })
        ).status,
      await page.inputValue('#op-key'),
    )
    assert.equal(answer, 200, key)
  }
})

test('a refused picture is explained, and a good one takes the explanation away', async () => {
  const page = await openPlayground()
  await page.setInputFiles('#file', pictures['paper.pdf'].path)
  await page.waitForSelector('#problem:not([hidden])')
  assert.match(await page.textContent('#problem'), /not a picture.*unsupported_type · HTTP 415/)
  assert.equal(await page.isDisabled('#run'), true)
  await page.click('#sample')
  await chosen(page)
  assert.equal(await page.isVisible('#problem'), false)
})

test('a problem of the API is shown with what to quote, and the stage that failed', async () => {
  const page = await openPlayground()
  await page.setInputFiles('#file', pictures['product.jpg'].path)
  await chosen(page)
  await page.fill('#op-key', 'nonsense-v9')
  await develop(page)
  assert.match(await page.textContent('#problem'), /unknown_op · HTTP 422 · request \S+/)
  assert.deepEqual(await stage(page, 'intake'), ['failed', 'failed'])
})

test('a running job can be cancelled', async () => {
  const page = await openPlayground()
  await page.route('**/object/upload/sign/**', () => {}) // an upload that hangs
  await page.setInputFiles('#file', pictures['product.jpg'].path)
  await chosen(page)
  await page.fill('#op-key', freshKey())
  const cancelled = page.waitForResponse((response) => response.request().method() === 'DELETE')
  await page.click('#run')
  await page.waitForSelector('[data-stage=upload][data-state=active]')
  await page.click('#cancel')
  assert.equal((await (await cancelled).json()).status, 'canceled')
  await chosen(page)
  assert.deepEqual(await stage(page, 'upload'), ['failed', 'failed'])
  assert.equal(await page.isVisible('#problem'), false)
})

test('on this device nothing is sent', async () => {
  const page = await openPlayground()
  await page.setInputFiles('#file', pictures['quadrants.jpg'].path)
  await chosen(page)
  assert.equal(await page.isVisible('#local-row'), false, 'the first recipe is work for the server')
  await page.fill('#op-key', 'resize-v1:width-200+convert-v1:format-jpeg')
  await page.check('#local')
  page.on('request', (request) => {
    if (!/^(blob|data):/.test(request.url())) assert.fail(request.url())
  })
  await develop(page)
  assert.equal(await page.getAttribute('#badge', 'data-kind'), 'local')
  assert.match(await page.textContent('#facts'), /200 × 125, .* JPEG$/)
  assert.match(await page.getAttribute('#download', 'download'), /^quadrants-darkroom\.jpeg$/)
})

test('a pasted picture is taken', async () => {
  const page = await openPlayground()
  await page.evaluate((base64) => {
    const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0))
    const clipboardData = new DataTransfer()
    clipboardData.items.add(new File([bytes], 'image.png', { type: 'image/png' }))
    document.body.dispatchEvent(new ClipboardEvent('paste', { clipboardData, bubbles: true }))
  }, readFileSync(pictures['hole.png'].path).toString('base64'))
  await chosen(page)
  assert.match(await page.textContent('#file-facts'), /^640 × 400, .*PNG$/)
})

test('a picture that the browser cannot show is processed all the same', async () => {
  const page = await openPlayground()
  await page.setInputFiles('#file', pictures['plain.heic'].path)
  await chosen(page)
  assert.match(await page.textContent('#frame'), /cannot show/)
  await page.fill('#op-key', 'resize-v1:width-100')
  await develop(page)
  assert.equal(await page.$eval('#frame img', (image) => image.naturalWidth), 100)
})

test('a drawing is shown and processed', async () => {
  const page = await openPlayground()
  await page.setInputFiles('#file', pictures['plain.svg'].path)
  await chosen(page)
  assert.match(await page.textContent('#file-facts'), /^321 × 203, .*SVG$/)
  await page.fill('#op-key', 'resize-v1:width-642:upscale-true+flatten-v1:color-white')
  await develop(page)
  assert.equal(await page.isVisible('#problem'), false, await page.textContent('#problem'))
  assert.match(await page.textContent('#facts'), /642 × 406/)
})

test('no page of the playground needs another origin than the API and Supabase', async () => {
  const page = await openPlayground()
  const origins = new Set()
  page.on('request', (request) => origins.add(new URL(request.url()).origin))
  await page.reload()
  await page.click('#sample')
  await chosen(page)
  await page.fill('#op-key', freshKey())
  await develop(page)
  for (const origin of origins)
    assert.ok(
      ['null', new URL(local.api_url).origin, new URL(local.supabase_url).origin].includes(origin),
      origin,
    )
  assert.deepEqual(page.complaints, [])
})
