import { violationsInBothSchemes } from './axe.mjs'
import { assert, openPlayground, pictures, test } from './harness.mjs'
import { develop } from './playground.mjs'

test('axe finds nothing to complain about in the several states of the page, by day and by night', async () => {
  const page = await openPlayground()
  assert.deepEqual(await violationsInBothSchemes(page), [])
  await page.click('#sample')
  await page.waitForSelector('#run:enabled')
  await page.fill('#op-key', 'compose-v1+watermark-v1:text-_darkroom')
  await develop(page)
  await page.click('summary')
  assert.deepEqual(await violationsInBothSchemes(page), [])
  await page.fill('#op-key', 'nonsense-v9')
  await develop(page)
  await page.waitForSelector('#problem:not([hidden])')
  assert.deepEqual(await violationsInBothSchemes(page), [])
  await page.click('#sign-in')
  assert.deepEqual(await violationsInBothSchemes(page), [])
})

test('the keyboard alone does the whole job, in the order of the page', async () => {
  const page = await openPlayground()
  const focused = () =>
    page.evaluate(() => document.activeElement.id || document.activeElement.textContent.trim().slice(0, 20))
  const until = async (id) => {
    const passed = []
    for (let steps = 0; steps < 40; steps++) {
      await page.keyboard.press('Tab')
      passed.push(await focused())
      if (passed.at(-1) === id) return passed
    }
    throw new Error(`${id} cannot be reached: ${passed}`)
  }
  await page.keyboard.press('Tab')
  assert.equal(await focused(), 'Skip to the picture')
  const way = [...(await until('sample'))]
  assert.deepEqual(
    way.filter((id) => ['sign-in', 'theme', 'file', 'sample'].includes(id)),
    ['sign-in', 'theme', 'file', 'sample'],
  )
  await page.keyboard.press('Enter')
  await page.waitForSelector('#run:enabled')
  await until('Web size')
  await page.keyboard.press('Space')
  assert.equal(await page.inputValue('#op-key'), 'resize-v1:width-1024')
  assert.deepEqual(
    (await until('run')).filter((id) => ['add-step', 'op-key', 'run'].includes(id)),
    ['add-step', 'op-key', 'run'],
  )
  await page.keyboard.press('Enter')
  await page.waitForSelector('#result:not([hidden])')
  assert.match(await page.textContent('#announce'), /(Developed|Cache hit) in .*1024 × 768/)
})

test('every visible control has a name, and the choice of light or dark is kept', async () => {
  const page = await openPlayground({ colorScheme: 'light' })
  const nameless = await page.$$eval('button, input, select, a', (controls) =>
    controls
      .filter(
        (control) =>
          control.checkVisibility() &&
          !control.labels?.length &&
          !control.getAttribute('aria-label') &&
          !control.textContent.trim(),
      )
      .map((control) => control.outerHTML),
  )
  assert.deepEqual(nameless, [])
  const scheme = () => page.evaluate(() => getComputedStyle(document.documentElement).colorScheme)
  await page.click('#theme')
  assert.equal(await scheme(), 'dark')
  await page.reload()
  await page.waitForSelector('html[data-ready]')
  assert.equal(await scheme(), 'dark')
})

test('nothing is cut off on a narrow phone', async () => {
  const page = await openPlayground({ viewport: { width: 320, height: 640 } })
  await page.setInputFiles('#file', pictures['product.jpg'].path)
  await page.waitForSelector('#run:enabled')
  await page.fill('#op-key', 'bgremove-v1+flatten-v1:color-ivory+shadow-v1')
  await develop(page)
  assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 320)
})
