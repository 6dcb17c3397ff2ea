import { openAccount, visit } from './accounts.mjs'
import { violations } from './axe.mjs'
import { assert, local, test } from './harness.mjs'

/** Whether a server with this key may look at images. */
const look = async (key) =>
  (await fetch(`${local.api_url}/images?limit=1`, { headers: { Authorization: `Bearer ${key}` } })).status

const shown = async (page) => {
  await page.waitForSelector('#key-made:not([hidden])')
  return page.inputValue('#key-secret')
}

const key = (page, name, status) =>
  page.locator(`#keys [data-status=${status}]`).filter({ hasText: name })

test('an API key is shown once, works, is replaced with an overlap, and ends when it is revoked', async () => {
  const page = await openAccount()
  await visit(page, 'account')
  await page.waitForSelector('#keys >> text=None yet.')
  await page.click('#new-key')
  await page.fill('#key-name', 'Shop importer')
  for (const scope of ['intake', 'jobs:read']) await page.uncheck(`#key-scopes [value="${scope}"]`)
  await page.click('#key-form [type=submit]')
  await page.waitForSelector('#key-problem >> text=at least one')
  await page.check('#key-scopes [value="library:read"]')
  await page.fill('#key-cap', '50')
  assert.deepEqual(await violations(page), [])
  await page.click('#key-form [type=submit]')
  const first = await shown(page)
  assert.match(first, /^dk_/)
  assert.equal(await look(first), 200)
  assert.deepEqual(await violations(page), [])
  await page.click('#key .close button')
  await page.waitForFunction(() => document.querySelector('#key-secret').value === '') // it does not stay in the page
  await key(page, 'Shop importer', 'active').waitFor()
  assert.match(await page.textContent('#keys'), /library:read.*0 of 50 credits this month/)

  await page.getByRole('button', { name: 'Replace… Shop importer' }).click()
  await page.click('#confirm-yes')
  const second = await shown(page)
  assert.notEqual(second, first)
  assert.deepEqual([await look(first), await look(second)], [200, 200])
  assert.match(await page.textContent('#key-status'), /The one before works until/)
  await page.keyboard.press('Escape')

  await page.getByRole('button', { name: 'Revoke… Shop importer' }).click()
  await page.click('#confirm-yes')
  await key(page, 'Shop importer', 'revoked').waitFor()
  assert.deepEqual([await look(first), await look(second)], [401, 401])
  assert.deepEqual(page.complaints, [])
})

test('a plan without API access is told so where a key is asked for', async () => {
  const page = await openAccount({ plan: 'free' })
  await visit(page, 'account')
  await page.click('#new-key')
  await page.fill('#key-name', 'Shop importer')
  await page.click('#key-form [type=submit]')
  await page.waitForSelector('#key-problem >> text=/API access/')
  assert.equal(await page.isVisible('#key-made'), false)
})
