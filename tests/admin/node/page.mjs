import { createHash, randomBytes } from 'node:crypto'
import { mkdirSync } from 'node:fs'
import postgres from 'postgres'
import { violationsInBothSchemes } from '../../browser/node/axe.mjs'
import { assert, local, open, test } from '../../browser/node/harness.mjs'

const SHOTS = process.env.ADMIN_SCREENSHOTS // where to leave pictures of the page, if anywhere
const sql = postgres(local.database_url, { max: 1 })
const EVIL = '<img src=x onerror="document.title=1"><b>mug</b>.jpg'

/** A new account {id, email, password, token}; with a role it is an operator. */
async function account(role, name = '') {
  const email = `${name}${randomBytes(name ? 2 : 6).toString('hex')}@example.com`
  const password = randomBytes(9).toString('hex')
  const answer = await fetch(`${local.supabase_url}/auth/v1/signup`, {
    method: 'POST',
    headers: { apikey: local.publishable_key, 'Content-Type': 'application/json' },
    body: JSON.stringify({ email, password }),
  })
  const { user, access_token } = await answer.json()
  if (role) await sql`insert into admins (user_id, role, granted_by) values (${user.id}, ${role}, 'cli:test')`
  return { id: user.id, email, password, token: access_token }
}

/** A job of an account that waits for its upload. */
async function newJob({ token }, filename = EVIL) {
  const claim = { filename, size: 1000, width: 40, height: 30, op_key: 'resize-v1:width-20', content_type: 'image/jpeg' }
  const answer = await fetch(`${local.api_url}/intake`, {
    method: 'POST',
    headers: { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json' },
    body: JSON.stringify({ ...claim, sha256: createHash('sha256').update(randomBytes(8)).digest('hex') }),
  })
  const body = await answer.json()
  assert.equal(answer.status, 200, JSON.stringify(body))
  return body.job_id
}

/** Lets moderation have refused a job. */
const refuse = (id) => sql`
  update jobs set status = 'error', finished_at = now(),
    error = ${sql.json({ code: 'refused', detail: 'No.', category: 'nudity' })} where id = ${id}`

async function fill(page, { email, password }) {
  await page.waitForSelector('#credentials:not([hidden])')
  await page.fill('#email', email)
  await page.fill('#password', password)
  await page.click('#credentials button')
}

const ready = (page) => page.waitForSelector('#content:not([aria-busy]) > *')

/** The page at a place, with an operator signed in. */
async function enter(role = 'admin', place = '', options = {}) {
  const page = await open(`/admin${place}`, options)
  page.operator = await account(role, options.name)
  await fill(page, page.operator)
  await ready(page)
  return page
}

async function go(page, place) {
  await page.evaluate((place) => (location.hash = place), place)
  await page.waitForFunction((place) => document.querySelector('#places [aria-current]')?.hash === `#${place.split('/')[0]}`, place)
  await ready(page)
  await page.waitForFunction(() => !document.querySelector('#content [aria-busy]'))
}

/** Presses a button, answers the question it asks, and waits until it is done. */
async function act(page, button, fields = {}, reason = 'because') {
  await page.click(button)
  for (const [name, value] of Object.entries(fields)) await page.fill(`#act-${name}`, value)
  await page.fill('#act-reason', reason)
  await page.click('#act-go')
  await page.waitForSelector('#act', { state: 'hidden' })
  await ready(page)
}

const fact = (page, name) =>
  page.evaluate((name) => [...document.querySelectorAll('dt')].find((dt) => dt.textContent === name)?.nextElementSibling.textContent, name)

const acts = (subject) =>
  sql`select actor, action, data from audit_log where subject = ${subject} and data ? 'by' order by id`

test('who has no role is told so and sees nothing', async () => {
  const page = await open('/admin')
  const user = await account(null)
  await fill(page, { ...user, password: 'wrong' })
  await page.waitForFunction(() => document.querySelector('#sign-in-error').textContent)
  await fill(page, user)
  await page.waitForFunction(() => /has no role here/.test(document.querySelector('#sign-in-error').textContent))
  assert.equal(await page.isVisible('#places'), false)
  assert.equal(await page.textContent('#content'), '')
  await page.click('#sign-out')
  await page.waitForFunction(() => document.querySelector('#sign-in-error').textContent === '')
  assert.deepEqual(page.complaints, [])
})

test('an operator sees the state of the system and checks what must hold', async () => {
  const page = await enter()
  assert.equal(await page.textContent('#title'), 'System')
  for (const name of ['database', 'redis', 'storage', 'leases expired', 'Stripe inbox'])
    assert.notEqual(await fact(page, name), undefined, name)
  await page.click('text=Check money and state')
  await page.waitForSelector('#invariants:not([aria-busy]) :is(table, .state)')
  await page.click('#sign-out')
  await page.waitForSelector('#credentials:not([hidden])')
  assert.equal(await page.textContent('#content'), '')
  assert.deepEqual(page.complaints, [])
})

test('a user is found, gets another plan, credits and a flag, each with a reason', async () => {
  const user = await account(null)
  const page = await enter('admin', '#users')
  await page.fill('#filter-query', user.email.slice(0, 10))
  await page.click('text=Search')
  await page.click(`a[title="${user.id}"]`)
  await page.waitForFunction(() => document.querySelector('h2')?.textContent === 'Account')
  assert.equal(await fact(page, 'Plan'), 'free')

  await page.click('text=Change plan')
  await page.fill('#act-plan_id', 'gold')
  await page.click('#act-go')
  assert.equal(await page.isVisible('#act'), true, 'without a reason nothing happens')
  await page.fill('#act-reason', 'trial')
  await page.click('#act-go')
  await page.waitForFunction(() => /no plan gold/i.test(document.querySelector('#act-error').textContent))
  await page.fill('#act-plan_id', 'pro')
  await page.click('#act-go')
  await page.waitForFunction(() => /plan is changed/.test(document.querySelector('#announce').textContent))
  await page.waitForFunction(() => [...document.querySelectorAll('dd')].some((dd) => dd.textContent === 'pro'))

  const before = Number(await fact(page, 'Credits'))
  await act(page, 'text=Give credits', { amount: '25', reference: 'ticket-1' })
  await page.waitForFunction((n) => [...document.querySelectorAll('dd')].some((dd) => dd.textContent === String(n)), before + 25)
  await act(page, 'text=Take credits', { amount: '5', reference: 'ticket-2' })
  await page.waitForFunction((n) => [...document.querySelectorAll('dd')].some((dd) => dd.textContent === String(n)), before + 20)
  await act(page, 'button >> text=/^Flag$/', {}, 'look at this')
  await page.waitForFunction(() => document.querySelector('dd .state')?.textContent === 'flagged')

  const found = await acts(user.id)
  assert.deepEqual(found.map(({ action }) => action), ['admin.plan', 'admin.credits', 'admin.credits', 'admin.flag'])
  assert.ok(found.every(({ actor, data }) => actor === page.operator.id && data.by === 'api'))
  await page.click('text=what was done about this account')
  await page.waitForFunction(() => /look at this/.test(document.querySelector('#content table')?.textContent ?? ''))
  assert.match(await page.textContent('#content table'), new RegExp(page.operator.email))
  assert.deepEqual(page.complaints, [])
})

test('a job is found and canceled, and nothing a user typed becomes HTML', async () => {
  const user = await account(null)
  const id = await newJob(user)
  const page = await enter('admin', '#jobs')
  await page.fill('#filter-user', user.email)
  await page.selectOption('#filter-status', 'awaiting_upload')
  await page.click('text=Search')
  await page.click(`a[title="${id}"]`)
  await page.waitForFunction(() => document.querySelector('h2')?.textContent === 'Job')
  assert.ok((await fact(page, 'Picture')).startsWith(EVIL))
  assert.equal(await page.locator('#content :is(img, b)').count(), 0)
  await act(page, 'text=Cancel', {}, '<i>no</i>')
  await page.waitForFunction(() => document.querySelector('dd .state')?.textContent === 'canceled')
  await page.click('text=Repeat')
  await page.fill('#act-reason', 'try')
  await page.click('#act-go')
  await page.waitForFunction(() => /bytes of this job are gone/.test(document.querySelector('#act-error').textContent))
  await page.keyboard.press('Escape')
  await go(page, `audit/${id}`)
  assert.match(await page.textContent('#content table'), /<i>no<\/i>/)
  assert.equal(await page.locator('#content i').count(), 0)
  assert.deepEqual(page.complaints, [])
})

test('a refused picture is decided about, blocked, and accepted again', async () => {
  const id = await newJob(await account(null))
  await refuse(id)
  const [{ sha256 }] = await sql`select sha256 from jobs where id = ${id}`
  const page = await enter('admin', '#refused')
  const row = `tr:has(a[title="${id}"])`
  await act(page, `${row} >> text=Block`, {}, 'clear case')
  await page.waitForSelector(row, { state: 'detached' })
  await page.selectOption('#filter-reviewed', 'true')
  await page.click('text=Search')
  await page.waitForSelector(`${row} .state[data-state=block]`)
  await go(page, 'blocked')
  await page.fill('#filter-sha256', sha256)
  await page.click('text=Search')
  await page.waitForFunction((sha256) => document.querySelectorAll('tbody tr').length === 1 && document.querySelector('tbody').textContent.includes(sha256), sha256)
  assert.match(await page.textContent('tbody'), /nudity.*clear case/)
  await act(page, 'tbody >> text=Unblock', {}, 'a mistake')
  const [{ count }] = await sql`select count(*)::int from blocked_hashes where sha256 = ${sha256}`
  assert.equal(count, 0)
  await act(page, 'text=Block bytes', { sha256: sha256.toUpperCase(), category: 'copyright' }, 'claim')
  const actions = (await acts(sha256)).map(({ action }) => action)
  assert.deepEqual(actions, ['hash.block', 'hash.unblock', 'hash.block'])
  assert.deepEqual(page.complaints, [])
})

/** A result that waits for a decision {id, sha256}; its object is gone. */
async function inReview() {
  const [sha256, at] = [createHash('sha256').update(randomBytes(8)).digest('hex'), randomBytes(8).toString('hex')]
  const [{ id }] = await sql`
    insert into image_outputs (input_sha256, input_content_type, input_width, input_height, input_size, op_key, variant, bucket,
      path, thumb_path, content_type, width, height, size, sha256, expires_at, moderation, moderation_score)
    values (${sha256}, 'image/png', 1, 1, 1, 'resize-v1:width-16', 'full', 'outputs-ephemeral', ${`${at}.webp`},
      ${`${at}.thumb.webp`}, 'image/webp', 1, 1, 1, ${sha256}, now() + interval '1 hour', 'review', 0.5) returning id`
  return { id, sha256 }
}

/** Gives what waits for a decision a picture that can be shown. */
const withPictures = (page) =>
  page.route('**/admin/api/in-review*', async (route) => {
    const response = await route.fetch()
    const { pictures, ...rest } = await response.json()
    const json = { ...rest, pictures: pictures.map((picture) => ({ ...picture, picture_url: '/static/sample.jpg' })) }
    await route.fulfill({ response, json })
  })

test('a picture in review is approved', async () => {
  const { id, sha256 } = await inReview()
  const page = await enter('admin', '#in-review')
  const row = `tr:has(code[title="${sha256}"])`
  assert.match(await page.textContent(row), /gone.*0\.50.*output.*resize/)
  await act(page, `${row} >> text=Approve`, {}, 'a lamp')
  await page.waitForSelector(row, { state: 'detached' })
  const [{ moderation }] = await sql`select moderation from image_outputs where id = ${id}`
  assert.equal(moderation, 'approved')
  assert.deepEqual((await acts(sha256)).map(({ action }) => action), ['picture.approve'])
  assert.deepEqual(page.complaints, [])
  await sql`delete from image_outputs where id = ${id}`
})

test('a picture in review that is shown leaves the columns beside it where they are', async () => {
  const { id, sha256 } = await inReview()
  const page = await enter('admin', '', { viewport: { width: 1180, height: 860 } })
  await withPictures(page)
  await go(page, 'in-review')
  const row = page.locator(`tr:has(code[title="${sha256}"])`)
  const places = () => row.locator('td').evaluateAll((cells) => cells.map((cell) => Math.round(cell.getBoundingClientRect().left)))
  const before = await places()
  await row.locator('summary').click()
  await row.locator('img').evaluate((image) => image.decode())
  assert.ok((await row.locator('img').boundingBox()).width > 100)
  assert.deepEqual(await places(), before)
  for (const button of await row.locator('button').all()) assert.ok((await button.boundingBox()).height < 36)
  await sql`delete from image_outputs where id = ${id}`
})

test('support looks everywhere and has no button that changes anything', async () => {
  const user = await account(null)
  const id = await newJob(user)
  await refuse(await newJob(user))
  const page = await enter('support')
  for (const place of ['system', 'users', `users/${user.id}`, 'jobs', `jobs/${id}`, 'in-review', 'refused', 'blocked', 'abuse', 'audit']) {
    await go(page, place)
    assert.equal(await page.textContent('#problem'), '')
    const buttons = await page.$$eval('#content button', (all) => all.filter((one) => !one.hidden).map((one) => one.textContent))
    assert.deepEqual(buttons.filter((text) => !/^(Search|Show more|Check money and state)$/.test(text)), [], place)
  }
  assert.deepEqual(page.complaints, [])
})

test('a long list grows by pages', async () => {
  const page = await enter('admin', '#audit')
  const user = await account(null)
  await sql`insert into audit_log (action, subject) select 'test.page', ${user.id} from generate_series(1, 60)`
  await page.fill('#filter-subject', user.id)
  await page.fill('#filter-action', 'test.')
  await page.click('text=Search')
  await page.waitForFunction(() => document.querySelectorAll('tbody tr').length === 50)
  await page.click('text=Show more')
  await page.waitForFunction(() => document.querySelectorAll('tbody tr').length === 60)
  assert.equal(await page.isVisible('text=Show more'), false)
})

test('while a search is under way the list before it does not grow', async () => {
  const user = await account(null)
  await sql`insert into audit_log (action, subject) select 'test.page', ${user.id} from generate_series(1, 60)`
  const page = await enter('admin', '#audit')
  await page.waitForSelector('text=Show more')
  let answer = () => {}
  const held = new Promise((resolve) => { answer = resolve })
  await page.route(/audit\?.*subject=/, async (route) => {
    await held
    await route.continue()
  })
  await page.fill('#filter-subject', user.id)
  await page.click('text=Search')
  assert.equal(await page.isVisible('text=Show more'), false)
  answer()
  await page.waitForSelector('text=Show more')
  assert.equal(await page.locator('tbody tr').count(), 50)
})

/** Every place, with something in each. */
async function places() {
  const user = await account(null)
  const id = await newJob(user, 'mug.jpg')
  await refuse(await newJob(user, 'mug.jpg'))
  return ['system', 'users', `users/${user.id}`, 'jobs', `jobs/${id}`, 'in-review', 'refused', 'blocked', 'abuse', 'audit']
}

test('axe finds nothing to complain about in any place, by day and by night', async () => {
  const page = await open('/admin')
  await page.waitForSelector('#credentials:not([hidden])')
  assert.deepEqual(await violationsInBothSchemes(page), [])
  await fill(page, await account('admin'))
  await ready(page)
  for (const place of await places()) {
    await go(page, place)
    assert.deepEqual(await violationsInBothSchemes(page), [], place)
  }
  await go(page, 'blocked')
  await page.click('text=Block bytes')
  assert.deepEqual(await violationsInBothSchemes(page), [])
})

test('nothing is wider than a narrow phone', async () => {
  const page = await enter('admin', '', { viewport: { width: 360, height: 740 } })
  for (const place of await places()) {
    await go(page, place)
    const wide = await page.evaluate(() => document.documentElement.scrollWidth)
    assert.ok(wide <= 360, `${place}: ${wide}`)
  }
})

test('a question that is asked again at once is answered', async () => {
  const user = await account(null)
  const page = await enter('admin', `#users/${user.id}`)
  await page.click('button >> text=/^Flag$/')
  // The dialog tells that it was closed a moment later, when it is open once more.
  await page.evaluate(() => {
    document.querySelector('#act-cancel').click()
    ;[...document.querySelectorAll('#content button')].find((one) => one.textContent === 'Flag').click()
  })
  await page.fill('#act-reason', 'spam')
  await page.click('#act-go')
  await page.waitForFunction(() => document.querySelector('dd .state')?.textContent === 'flagged')
})

test('an account is suspended and restored', async () => {
  const user = await account(null)
  const page = await enter('admin', `#users/${user.id}`)
  await page.waitForFunction(() => document.querySelector('h2')?.textContent === 'Account')
  await act(page, 'button >> text=/^Suspend$/', {}, 'chargebacks')
  await page.waitForFunction(() => document.querySelector('dd .state')?.textContent === 'suspended')
  assert.equal(await fact(page, 'State'), 'suspended chargebacks')
  await act(page, 'button >> text=/^Restore$/', {}, 'paid')
  await page.waitForFunction(() => !document.querySelector('dd .state'))
  const found = await acts(user.id)
  assert.deepEqual(found.map(({ action }) => action), ['admin.suspend', 'admin.restore'])
  assert.deepEqual(page.complaints, [])
})

test('the keyboard alone flags a user', async () => {
  const user = await account(null)
  const page = await enter()
  const focused = () => page.evaluate(() => document.activeElement.id || document.activeElement.textContent.trim())
  const until = async (name) => {
    for (let steps = 0; steps < 60; steps++) {
      await page.keyboard.press('Tab')
      if ((await focused()) === name) return
    }
    throw new Error(`${name} cannot be reached`)
  }
  await until('Users')
  await page.keyboard.press('Enter')
  await page.waitForFunction(() => document.activeElement.id === 'title')
  await ready(page)
  await until('filter-query')
  await page.keyboard.type(user.email)
  await page.keyboard.press('Enter')
  await page.waitForFunction(() => document.querySelectorAll('tbody tr').length === 1)
  await until(user.email)
  await page.keyboard.press('Enter')
  await page.waitForFunction(() => document.querySelector('h2')?.textContent === 'Account')
  await until('Flag')
  await page.keyboard.press('Enter')
  assert.equal(await focused(), 'act-reason')
  await page.keyboard.press('Escape')
  await page.waitForSelector('#act', { state: 'hidden' })
  assert.equal(await focused(), 'Flag', 'the focus comes back')
  await page.keyboard.press('Enter')
  await page.keyboard.type('spam')
  await page.keyboard.press('Enter')
  await page.waitForFunction(() => document.querySelector('dd .state')?.textContent === 'flagged')
})

test('the page may load its own files and talk to its own services alone', async () => {
  const page = await enter()
  const answer = await page.request.get(`${local.api_url}/admin`)
  const policy = answer.headers()['content-security-policy']
  assert.match(policy, /default-src 'none'.*script-src 'self'.*frame-ancestors 'none'/)
  assert.doesNotMatch(policy, /unsafe|\*/)
  const ran = await page.evaluate(() => {
    const script = document.createElement('script')
    script.textContent = 'globalThis.pwned = true'
    document.body.append(script)
    return Boolean(globalThis.pwned)
  })
  assert.equal(ran, false)
})

// Not a test: pictures for docs/admin.md, where somebody names a folder for them.
if (SHOTS)
  test('pictures for the guide', async () => {
    mkdirSync(SHOTS, { recursive: true })
    const page = await enter('admin', '', { viewport: { width: 1180, height: 860 }, name: 'operator-' })
    const user = await account(null, 'ada-')
    const job = `jobs/${await newJob(user, 'mug.jpg')}`
    await refuse(await newJob(user, 'lamp.jpg'))
    await go(page, `users/${user.id}`)
    await act(page, 'text=Change plan', { plan_id: 'pro' }, 'a trial until Friday')
    await act(page, 'text=Give credits', { amount: '250', reference: 'ticket-417' }, 'lost a day to our outage')
    await act(page, 'button >> text=/^Flag$/', {}, 'asks for refunds every week')
    for (const [name, place] of [['system', 'system'], ['user', `users/${user.id}`], ['job', job], ['refused', 'refused'], ['audit', 'audit']]) {
      await go(page, place)
      await page.screenshot({ path: `${SHOTS}/admin-${name}.png` })
    }
    const waiting = [await inReview(), await inReview()]
    await withPictures(page)
    await go(page, 'in-review')
    await page.click('summary >> nth=0')
    await page.screenshot({ path: `${SHOTS}/admin-in-review.png` })
    for (const { id } of waiting) await sql`delete from image_outputs where id = ${id}`
    await page.setViewportSize({ width: 390, height: 844 })
    await go(page, `users/${user.id}`)
    await page.screenshot({ path: `${SHOTS}/admin-phone.png` })
  })
