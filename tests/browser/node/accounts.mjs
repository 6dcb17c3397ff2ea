import { randomBytes } from 'node:crypto'
import { assert, openPlayground, pictures, test } from './harness.mjs'
import { freshKey } from './jobs.mjs'
import { develop } from './playground.mjs'

export const newCredentials = () => ({
  email: `${randomBytes(6).toString('hex')}@example.com`,
  password: randomBytes(9).toString('hex'),
})

/** Fills the dialog and presses one of its buttons. */
export async function enter(page, { email, password }, how) {
  await page.click('#sign-in')
  await page.fill('#email', email)
  await page.fill('#password', password)
  await page.click(`button[value=${how}]`)
}

export const listed = (page, count) =>
  page.waitForFunction((count) => document.querySelectorAll('#images li').length === count, count)

/** Processes a picture while signed in; its op_key. */
export async function processOne(page) {
  const key = freshKey()
  await page.setInputFiles('#file', pictures['product.jpg'].path)
  await page.waitForSelector('#run:enabled')
  await page.fill('#op-key', key)
  await develop(page)
  assert.equal(await page.isVisible('#problem'), false, await page.textContent('#problem'))
}

test('who signs up sees their own images and nobody elses', async () => {
  const page = await openPlayground()
  const credentials = newCredentials()
  await enter(page, credentials, 'up')
  await page.waitForSelector('#library:not([hidden])')
  assert.equal(await page.textContent('#who'), credentials.email)
  await processOne(page)
  await listed(page, 1)
  assert.equal(await page.textContent('#images .name'), 'product.jpg')
  const thumb = page.locator('#images img')
  await thumb.scrollIntoViewIfNeeded()
  await page.waitForFunction(() => document.querySelector('#images img').naturalWidth > 0)
  assert.ok(await thumb.evaluate((image) => image.naturalWidth <= 256))
  assert.match(await thumb.getAttribute('src'), /\/storage\/v1\/object\/sign\//)

  const stranger = await openPlayground()
  await enter(stranger, newCredentials(), 'up')
  await stranger.waitForSelector('#library:not([hidden])')
  await stranger.waitForFunction(() =>
    /Nothing yet/.test(document.querySelector('#library-hint').textContent),
  )
  assert.equal(await stranger.locator('#images li').count(), 0)
  assert.deepEqual([...page.complaints, ...stranger.complaints], [])
})

test('signing out takes the list away, and signing in brings it back after a reload, too', async () => {
  const page = await openPlayground()
  const credentials = newCredentials()
  await enter(page, credentials, 'up')
  await page.waitForSelector('#library:not([hidden])')
  await processOne(page)
  await listed(page, 1)
  await page.click('#sign-out')
  await page.waitForSelector('#library', { state: 'hidden' })
  assert.equal(await page.locator('#images li').count(), 0)
  await enter(page, credentials, 'in')
  await listed(page, 1)
  await page.reload()
  await listed(page, 1)
})

test('a wrong password is explained in the dialog', async () => {
  const page = await openPlayground()
  await enter(page, newCredentials(), 'in')
  await page.waitForFunction(() => document.querySelector('#account-error').textContent !== '')
  assert.match(await page.textContent('#account-error'), /credentials/i)
  assert.equal(await page.isVisible('#account'), true)
})
