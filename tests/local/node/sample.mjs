// What a newcomer sees on the playground of ./scripts/run. Reads {api_url, executable, shots} from SAMPLE; with a folder
// in `shots` it also takes the pictures of docs/images (SHOTS=docs/images, where fonts-liberation is installed).
import assert from 'node:assert/strict'
import { chromium } from 'playwright-core'
import { run, test } from '../../node/cases.mjs'

const { api_url, executable, shots } = JSON.parse(process.env.SAMPLE)
const browser = await chromium.launch({ executablePath: executable, args: ['--headless', '--no-sandbox', '--disable-gpu'] })

async function open(options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 860 }, reducedMotion: 'reduce', ...options })
  const page = await context.newPage()
  page.complaints = []
  page.on('pageerror', (error) => page.complaints.push(error.stack))
  page.on('console', (message) => message.type() === 'error' && page.complaints.push(message.text()))
  await page.goto(api_url)
  await page.waitForSelector('html[data-ready]')
  return page
}

const shot = (page, name) => (shots ? page.screenshot({ path: `${shots}/${name}.png` }) : null)

const shown = (page, pictures) =>
  page.waitForFunction((pictures) => [...document.querySelectorAll(pictures)].every(({ naturalWidth }) => naturalWidth > 0), pictures)

const drawn = (page) =>
  page.waitForFunction(() => {
    const pictures = [...document.querySelectorAll('#images li[data-id] img')]
    return pictures.length >= 10 && pictures.slice(0, 8).every((picture) => picture.complete && picture.naturalWidth > 0)
  })

test('one click opens the sample library', async () => {
  const page = await open()
  await page.click('#sample-account')
  await page.waitForSelector('#library:not([hidden])')
  await drawn(page)
  assert.match(await page.textContent('#library-hint'), /11 images/)
  assert.match(await page.textContent('#collections'), /Kitchen.*Mugs.*Living room/s)
  assert.match(await page.textContent('#plan'), /Pro plan/)
  assert.equal(await page.isVisible('#sample-account'), false)
  await shot(page, 'playground-library-desktop')
  await page.click('#images li:has-text("harbour-mug") > button')
  await page.waitForSelector('#image[data-state=open] #image-frame img')
  await shown(page, '#image img')
  await shot(page, 'playground-image-desktop')
  await page.evaluate(() => { location.hash = '#account' })
  await page.waitForSelector('#image', { state: 'hidden' })
  await page.waitForSelector('#keys .row, #keys li')
  assert.match(await page.textContent('#keys'), /Shop importer/)
  assert.match(await page.textContent('#teams'), /Studio.*Owner, 2 of/s)
  await page.waitForSelector('#usage svg')
  await shot(page, 'playground-account-desktop')
  await page.click('#sign-out')
  await page.waitForSelector('#sample-account:not([hidden])')
  assert.deepEqual(page.complaints, [])
})

test('a visitor develops the sample', async () => {
  const page = await open({ viewport: { width: 1320, height: 850 } })
  await page.click('#sample')
  await page.waitForSelector('#run:enabled')
  await page.getByRole('button', { name: 'White background' }).click()
  await page.click('#run')
  await page.waitForSelector('#result:not([hidden])')
  await shown(page, '#frame img')
  await page.evaluate(() => scrollTo(0, 0))
  await shot(page, 'playground-desktop')
  await page.emulateMedia({ colorScheme: 'dark' })
  await shot(page, 'playground-dark')
  assert.deepEqual(page.complaints, [])
})

test('the page tells the command that changes a plan', async () => {
  const page = await open()
  await page.click('#sign-in')
  assert.match(await page.textContent('#another-plan-command'), /bin\/darkroom admin plan you@example.com pro$/)
  await page.keyboard.press('Escape')
  await page.click('#sample-account')
  await page.waitForSelector('#library:not([hidden])')
  await page.click('#tabs a[href="#account"]')
  await page.waitForFunction(() => /Pro/.test(document.querySelector('#plan-title').textContent))
  await page.click('#show-plans')
  await page.waitForSelector('#plans[open]')
  assert.match(await page.textContent('#plans-hint'), /bin\/darkroom admin plan sample@example.com pro$/)
  assert.deepEqual(page.complaints, [])
})

test('the button fits on a phone', async () => {
  const page = await open({ viewport: { width: 375, height: 780 }, deviceScaleFactor: 2 })
  const wide = await page.evaluate(() => document.documentElement.scrollWidth)
  assert.ok(wide <= 375, `the page is ${wide} px wide`)
  assert.equal(await page.isVisible('#sample-account'), true)
  const heights = await page.$$eval('.corner > button:not([hidden])', (buttons) => buttons.map((button) => button.offsetHeight))
  assert.ok(Math.max(...heights) < 50, 'a button breaks its words')
  await page.click('#sample')
  await page.waitForSelector('#run:enabled')
  await page.click('#run')
  await page.waitForSelector('#result:not([hidden])')
  await shown(page, '#frame img')
  await page.locator('.viewer').evaluate((viewer) => viewer.scrollIntoView())
  await shot(page, 'playground-phone')
  await page.click('#sample-account')
  await page.waitForSelector('#library:not([hidden])')
  await drawn(page)
  await shot(page, 'playground-library-phone')
})

await run()
await browser.close()
process.exit(0)
