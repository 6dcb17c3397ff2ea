import { randomBytes } from 'node:crypto'
import { createClient } from '@supabase/supabase-js'
import postgres from 'postgres'
import { violations } from './axe.mjs'
import { assert, local, openPlayground, pictures, test } from './harness.mjs'
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

/** Goes to a view of the page. */
export async function visit(page, view) {
  await page.click(`#tabs a[href="#${view}"]`)
  await page.waitForSelector(`#${view}:not([hidden])`)
}

export const signedIn = (page) => page.waitForSelector('#tabs:not([hidden])')

/** Asks the database, past every rule. */
export async function ask(query) {
  const sql = postgres(local.database_url, { max: 1 })
  return query(sql).finally(() => sql.end())
}

/** Signs up a new user, as the page does it: {id, email, and what supabase-js keeps in a browser's storage}. */
async function newUser() {
  const kept = {}
  const storage = {
    getItem: (name) => kept[name] ?? null,
    setItem: (name, value) => void (kept[name] = value),
    removeItem: (name) => void delete kept[name],
  }
  const auth = { storage, autoRefreshToken: false }
  const { data, error } = await createClient(local.supabase_url, local.publishable_key, { auth }).auth.signUp(newCredentials())
  assert.equal(error, null)
  return { id: data.user.id, email: data.user.email, kept }
}

/** A playground whose user has signed in before and has a plan; `page.email` is theirs. */
export async function openAccount({ plan = 'pro', ...options } = {}) {
  const { id, email, kept } = await newUser()
  const changed = await ask((sql) => sql`update profiles set plan_id = ${plan} where user_id = ${id}`)
  assert.equal(changed.count, 1)
  const page = await openPlayground({ kept, ...options })
  await signedIn(page)
  return Object.assign(page, { email })
}

export const listed = (page, count) =>
  page.waitForFunction(
    (count) =>
      document.querySelectorAll('#images li[data-id]').length === count &&
      document.querySelector('#images .skeleton') === null,
    count,
  )

/** Processes a picture. */
export async function processOne(page, key = freshKey()) {
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
  await signedIn(page)
  assert.equal(await page.textContent('#who'), credentials.email)
  await processOne(page)
  await visit(page, 'library')
  await listed(page, 1)
  assert.equal(await page.textContent('#images .name'), 'product.jpg')
  const thumb = page.locator('#images img')
  await thumb.scrollIntoViewIfNeeded()
  await page.waitForFunction(() => document.querySelector('#images img').naturalWidth > 0)
  assert.ok(await thumb.evaluate((image) => image.naturalWidth <= 256))
  assert.match(await thumb.getAttribute('src'), /\/storage\/v1\/object\/sign\//)

  const stranger = await openPlayground()
  await enter(stranger, newCredentials(), 'up')
  await signedIn(stranger)
  await visit(stranger, 'library')
  await stranger.waitForFunction(() =>
    /Nothing yet/.test(document.querySelector('#library-hint').textContent),
  )
  assert.equal(await stranger.locator('#images li').count(), 0)
  await stranger.click('#void-action')
  await stranger.waitForSelector('#develop:not([hidden])')
  assert.deepEqual([...page.complaints, ...stranger.complaints], [])
})

test('signing out takes the list away, and signing in brings it back after a reload, too', async () => {
  const page = await openPlayground()
  const credentials = newCredentials()
  await enter(page, credentials, 'up')
  await signedIn(page)
  await processOne(page)
  await visit(page, 'library')
  await listed(page, 1)
  await visit(page, 'account')
  await page.click('#sign-out')
  await page.waitForSelector('#tabs', { state: 'hidden' })
  assert.equal(await page.isVisible('#develop'), true, 'the only view that needs no account')
  assert.equal(await page.locator('#images li').count(), 0)
  await enter(page, credentials, 'in')
  await listed(page, 1)
  await visit(page, 'library')
  await page.reload()
  await listed(page, 1)
  assert.equal(await page.isVisible('#library'), true, 'a reload stays where it was')
})

test('a wrong password is explained in the dialog', async () => {
  const page = await openPlayground()
  await enter(page, newCredentials(), 'in')
  await page.waitForFunction(() => document.querySelector('#account-error').textContent !== '')
  assert.match(await page.textContent('#account-error'), /credentials/i)
  assert.equal(await page.isVisible('#signing'), true)
})

test('what a visitor made is offered to whoever signs in, and is theirs then', async () => {
  const page = await openPlayground()
  await processOne(page)
  assert.match(await page.textContent('#kept'), /Kept until .*Sign in to keep it/)
  await processOne(page)
  await page.click('#keep-it')
  const { email, password } = newCredentials()
  await page.fill('#email', email)
  await page.fill('#password', password)
  await page.click('button[value=up]')
  await page.waitForSelector('#claim:not([hidden])')
  assert.match(await page.textContent('#claim'), /Save the 2 pictures you made before signing in/)
  assert.deepEqual(await violations(page), [])
  await page.click('#claim-yes')
  await page.waitForSelector('#toast >> text=2 pictures are yours now.')
  assert.equal(await page.isVisible('#claim'), false)
  await page.click('#toast >> text=Open the library')
  await listed(page, 1) // one image, of which there are two versions
  assert.match(await page.textContent('#images .count'), /2 versions/)
  await page.reload()
  await listed(page, 1)
  assert.equal(await page.isVisible('#claim'), false)
  assert.deepEqual(page.complaints, [])
})

test('settings are shown, changed and kept, and the plan that they need is told', async () => {
  const page = await openPlayground()
  await enter(page, newCredentials(), 'up')
  await signedIn(page)
  await visit(page, 'account')
  await page.waitForSelector('#settings-note:not([hidden])')
  assert.match(await page.textContent('#settings-note'), /Free plan.*plan that has a library/)
  assert.match(await page.textContent('#keep-full-res-hint'), /works at up to .* whatever is chosen/)
  assert.match(await page.textContent('#versions-hint'), /Free plan keeps up to 20 versions/)
  assert.equal(await page.isDisabled('#settings-save'), true)
  await page.uncheck('#keep-full-res')
  await page.fill('#versions-to-keep', '0')
  assert.equal(await page.isDisabled('#settings-save'), true, 'there is no such number')
  await page.fill('#versions-to-keep', '5')
  await page.fill('#archive-after', '30')
  assert.deepEqual(await violations(page), [])
  await page.click('#settings-save')
  await page.waitForFunction(() => document.querySelector('#settings-status').textContent === 'Saved.')
  assert.equal(await page.isDisabled('#settings-save'), true)
  await page.reload()
  await page.waitForFunction(() => document.querySelector('#archive-after').value === '30')
  assert.equal(await page.isChecked('#keep-full-res'), false)
  assert.equal(await page.inputValue('#versions-to-keep'), '5')
  await page.fill('#archive-after', '')
  await page.click('#settings-save')
  await page.waitForFunction(() => document.querySelector('#settings-status').textContent === 'Saved.')
  assert.deepEqual(page.complaints, [])
})

test('a visitor who gets a hit and signs up keeps the picture', async () => {
  const key = freshKey()
  const maker = await openPlayground()
  await processOne(maker, key)
  const page = await openPlayground()
  for (let again = 0; again < 2; again++) await processOne(page, key) // from the database, then from Redis
  const hit = JSON.parse(await page.textContent('#answer'))
  assert.equal(hit.cached, true)
  const made = JSON.parse(await maker.textContent('#answer'))
  assert.equal(hit.output.output_id, made.output.output_id)
  assert.notEqual(hit.job_id, made.job_id)
  await page.click('#keep-it')
  const { email, password } = newCredentials()
  await page.fill('#email', email)
  await page.fill('#password', password)
  await page.click('button[value=up]')
  await page.waitForSelector('#claim:not([hidden])')
  assert.match(await page.textContent('#claim'), /Save the picture you made before signing in/)
  await page.click('#claim-yes')
  await page.waitForSelector('#toast >> text=One picture is yours now.')
  await page.click('#toast >> text=Open the library')
  await listed(page, 1)
  // Whoever made it has lost nothing.
  const theirs = await maker.evaluate((id) => fetch(`/jobs/${id}`).then((answer) => answer.json()), made.job_id)
  assert.deepEqual(theirs.output, made.output)
  assert.deepEqual([...page.complaints, ...maker.complaints], [])
})
