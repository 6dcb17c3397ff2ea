import { ask, newCredentials, enter, openAccount, processOne, signedIn, visit } from './accounts.mjs'
import { violationsInBothSchemes } from './axe.mjs'
import { assert, openPlayground, pictures, test } from './harness.mjs'
import { freshKey } from './jobs.mjs'
import { develop } from './playground.mjs'

/** What a quota says of itself. */
const quota = (page, policy) => page.locator(`#quotas [data-policy=${policy}]`)

/** A day of usage, written past every rule. */
const used = (page, generations, day = 0) =>
  ask(
    (sql) => sql`
      insert into usage_daily (user_id, day, jobs, generations, cache_hits)
      select id, (now() at time zone 'utc')::date - ${day}::integer, ${generations}, ${generations}, 2
      from auth.users where email = ${page.email}
      on conflict (user_id, day) do update set generations = excluded.generations`,
  )

async function account() {
  const page = await openAccount()
  await ask(
    (sql) => sql`
      select grant_credits(id, 40, 'subscription', 'test ' || id, now() + interval '20 days')
      from auth.users where email = ${page.email}`,
  )
  await used(page, 7, 3)
  await processOne(page)
  await visit(page, 'account')
  await page.waitForSelector('.chart')
  await page.waitForFunction(() => document.querySelector('#plan-title').textContent !== 'Plan')
  await page.waitForFunction(() => /\d/.test(document.querySelector('#balance').textContent))
  return page
}

test('the account tells the balance, what ends when, quotas, usage and how it came about', async () => {
  const page = await account()
  assert.equal(await page.textContent('#plan-title'), 'Pro plan')
  assert.equal(await page.textContent('#balance'), '140')
  assert.match(await page.textContent('#expiring'), /40 credits until .*100 credits without an end/)
  assert.match(await quota(page, 'generations_per_day').textContent(), /Pictures today 1 of 1,000.*Begins anew/)
  assert.match(await quota(page, 'storage_bytes').textContent(), /of 100 GB/)
  assert.match(await page.getAttribute('.chart', 'aria-label'), /8 made, 2 from the cache/)
  assert.match(await page.textContent('#usage'), /Pictures made8.*From the cache2, 20 %/)
  const saved = page.waitForEvent('download')
  await page.click('#usage-csv')
  assert.equal((await saved).suggestedFilename(), 'darkroom-usage.csv')
  await page.click('#history summary')
  await page.waitForSelector('#movements tr')
  assert.match(await page.textContent('#movements'), /Plan\+40140.*Sign-up\+100100/)
  await page.click('#show-plans')
  await page.waitForSelector('#offers [data-own] >> text=Your plan')
  assert.match(await page.textContent('#offers [data-plan=basic]'), /\$9\.99 a month.*300 credits/)
  assert.equal(await page.locator('#offers button').count(), 0, 'nothing is sold here')
  assert.deepEqual(page.complaints, [])
})

test('axe finds nothing in the account, by day and by night', async () => {
  const page = await account()
  await page.click('#history summary')
  await page.waitForSelector('#movements tr')
  assert.deepEqual(await violationsInBothSchemes(page), [])
  await page.click('#show-plans')
  await page.waitForSelector('#offers li')
  assert.deepEqual(await violationsInBothSchemes(page), [])
})

test('a quota that is used up is explained, with when it begins anew and the plans', async () => {
  const page = await openAccount({ plan: 'free' })
  await used(page, 10)
  await page.setInputFiles('#file', pictures['product.jpg'].path)
  await page.waitForSelector('#run:enabled')
  await page.fill('#op-key', freshKey())
  await develop(page)
  assert.match(await page.textContent('#problem'), /10 of 10 .*quota_exceeded.*It begins anew/)
  await page.click('#problem >> text=See the plans')
  await page.waitForSelector('#plans[open] #offers [data-own] >> text=Your plan')
  await page.keyboard.press('Escape')
  await visit(page, 'account')
  assert.equal(await quota(page, 'generations_per_day').getAttribute('data-full'), 'full')
  assert.match(await quota(page, 'high_res_exports_per_month').textContent(), /not in this plan/)
})

test('what an order costs is told before it is given, and the quote goes with it', async () => {
  const page = await openPlayground()
  await enter(page, newCredentials(), 'up')
  await signedIn(page)
  const key = freshKey()
  await page.setInputFiles('#file', pictures['product.jpg'].path)
  await page.waitForSelector('#run:enabled')
  await page.fill('#op-key', key)
  await page.waitForSelector('#price >> text=/^Costs nothing/')
  const ordered = page.waitForRequest((request) => request.url().endsWith('/intake'))
  await develop(page)
  assert.ok((await ordered).postDataJSON().quote_id, 'the price that was shown is held to')
  await page.waitForSelector('#price >> text=it is in the cache')
  await page.fill('#op-key', 'nonsense-v9')
  await page.waitForFunction(() => document.querySelector('#price').textContent === '')
})
