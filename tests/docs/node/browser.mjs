// One block in Chromium: a page of another origin, or a script on the API's own.
import assert from 'node:assert/strict'
import { chromium } from 'playwright-core'

const scene = JSON.parse(process.env.SCENE)
const browser = await chromium.launch({ executablePath: scene.chromium, args: ['--headless', '--no-sandbox', '--disable-gpu'] })
const page = await (await browser.newContext({ bypassCSP: true })).newPage()
const complaints = []
page.on('pageerror', (error) => complaints.push(error.stack))
page.on('console', (message) => message.type() === 'error' && !/favicon/.test(message.location().url) && complaints.push(message.text()))

if (scene.kind === 'html') {
  await page.goto(scene.supabase_url)
  const loaded = page.waitForResponse(/\/darkroom\.js$/)
  await page.setContent(scene.text)
  assert.equal((await loaded).status(), 200)
  await page.waitForLoadState('networkidle')
} else {
  await page.goto(`${scene.api_url}/health`)
  const made = await page.evaluate(async ({ text, picture }) => {
    const { createDarkroom } = await import('/static/darkroom.js')
    const client = createDarkroom({ apiUrl: location.origin })
    const blobs = []
    const darkroom = { ...client, local: async (...call) => (blobs.push(await client.local(...call)), blobs.at(-1)) }
    const bytes = Uint8Array.from(atob(picture), (letter) => letter.charCodeAt(0))
    const file = new File([bytes], 'mug.jpg', { type: 'image/jpeg' })
    const body = async () => {}
    await new body.constructor('darkroom', 'file', text)(darkroom, file)
    return blobs.map(({ blob, width }) => ({ type: blob.type, width }))
  }, scene)
  assert.equal(made.length, 1, 'the block made no picture')
  assert.match(made[0].type, /^image\//)
}
assert.deepEqual(complaints, [])
await browser.close()
process.exit(0)
