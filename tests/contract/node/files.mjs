import { createHash } from 'node:crypto'
import { Readable } from 'node:stream'
import { anon, assert, makeBucket, ok, refused, service, test } from './harness.mjs'

const text = async (blob) => await blob.text()
const read = async (bucket, path) => await text(ok(await service.storage.from(bucket).download(path)))

test('upload takes every kind of body', async () => {
  const files = service.storage.from(await makeBucket())
  const form = new FormData()
  form.append('file', new Blob(['form'], { type: 'text/plain' }), 'a.txt')
  const bodies = {
    string: 'string',
    buffer: Buffer.from('buffer'),
    array: new TextEncoder().encode('array').buffer,
    view: new TextEncoder().encode('view'),
    blob: new Blob(['blob'], { type: 'text/plain' }),
    form,
    parameters: new URLSearchParams({ parameters: '1' }),
    web: new Blob(['web']).stream(),
    node: Readable.from([Buffer.from('no'), Buffer.from('de')]),
  }
  for (const [name, body] of Object.entries(bodies)) {
    ok(await files.upload(`kinds/${name}.txt`, body))
    const expected = name === 'parameters' ? 'parameters=1' : name
    assert.equal(await text(ok(await files.download(`kinds/${name}.txt`))), expected)
  }
})

test('upload answers id, path and fullPath, and info tells what was stored', async () => {
  const bucket = await makeBucket()
  const files = service.storage.from(bucket)
  const stored = ok(
    await files.upload('/a//b.png', Buffer.from('12345'), {
      contentType: 'image/png',
      cacheControl: '60',
      metadata: { k: 'v', 'ключ': [1] },
    })
  )
  assert.equal(stored.path, 'a/b.png')
  assert.equal(stored.fullPath, `${bucket}/a/b.png`)
  const info = ok(await files.info('a/b.png'))
  assert.equal(info.id, stored.id)
  assert.equal(info.name, 'a/b.png')
  assert.equal(info.bucketId, bucket)
  assert.equal(info.size, 5)
  assert.equal(info.contentType, 'image/png')
  assert.equal(info.cacheControl, 'max-age=60')
  assert.equal(info.etag, `"${createHash('md5').update('12345').digest('hex')}"`)
  assert.deepEqual(info.metadata, { k: 'v', 'ключ': [1] })
  assert.ok(info.version && info.createdAt && info.lastModified)
})

test('upload of a Blob is multipart and keeps type, cache time and metadata', async () => {
  const files = service.storage.from(await makeBucket())
  const blob = new Blob(['picture'], { type: 'image/webp' })
  ok(await files.upload('p.webp', blob, { cacheControl: '7', metadata: { from: 'blob' } }))
  const info = ok(await files.info('p.webp'))
  assert.equal(info.contentType, 'image/webp')
  assert.equal(info.cacheControl, 'max-age=7')
  assert.deepEqual(info.metadata, { from: 'blob' })
})

test('upload keeps a content encoding', async () => {
  const { gzipSync } = await import('node:zlib')
  const bucket = await makeBucket({ public: true })
  const files = service.storage.from(bucket)
  ok(await files.upload('a.txt', gzipSync('unpacked'), { contentEncoding: 'gzip' }))
  assert.equal(await text(ok(await files.download('a.txt'))), 'unpacked')
  const blob = new Blob([gzipSync('from a blob')], { type: 'text/plain' })
  ok(await files.upload('b.txt', blob, { contentEncoding: 'gzip' }))
  assert.equal(await text(ok(await files.download('b.txt'))), 'from a blob')
})

test('upload refuses a taken path unless upsert', async () => {
  const bucket = await makeBucket()
  const files = service.storage.from(bucket)
  ok(await files.upload('a.txt', 'one'))
  const error = refused(await files.upload('a.txt', 'two'), 409)
  assert.equal(error.status, 400)
  assert.equal(await read(bucket, 'a.txt'), 'one')
  ok(await files.upload('a.txt', 'two', { upsert: true }))
  assert.equal(await read(bucket, 'a.txt'), 'two')
})

test('update replaces the object', async () => {
  const bucket = await makeBucket()
  const files = service.storage.from(bucket)
  const first = ok(await files.upload('a.txt', 'one'))
  const second = ok(await files.update('a.txt', 'two'))
  assert.equal(second.id, first.id)
  ok(await files.update('a.txt', new Blob(['three'])))
  assert.equal(await read(bucket, 'a.txt'), 'three')
})

test('upload refuses what the bucket does not take', async () => {
  const settings = { public: false, fileSizeLimit: 100, allowedMimeTypes: ['image/png', 'text/*'] }
  const files = service.storage.from(await makeBucket(settings))
  const wrong = refused(await files.upload('a.pdf', 'x', { contentType: 'application/pdf' }), 415)
  assert.equal(wrong.message, 'mime type application/pdf is not supported')
  refused(await files.upload('a.pdf', new Blob(['x'], { type: 'application/pdf' })), 415)
  const large = refused(await files.upload('a.txt', 'x'.repeat(101)), 413)
  assert.equal(large.message, 'The object exceeded the maximum allowed size')
  refused(await files.upload('a.txt', new Blob(['x'.repeat(101)], { type: 'text/plain' })), 413)
  assert.deepEqual(ok(await files.list()), [])
  ok(await files.upload('a.txt', 'x'.repeat(100)))
})

test('upload of a stream is not held to the size limit: it is sent in chunks, without a length', async () => {
  const files = service.storage.from(await makeBucket({ public: false, fileSizeLimit: 100 }))
  ok(await files.upload('a.txt', Readable.from([Buffer.alloc(60), Buffer.alloc(60)])))
  assert.equal(ok(await files.info('a.txt')).size, 120)
})

test('upload refuses invalid keys and missing buckets', async () => {
  const files = service.storage.from(await makeBucket())
  assert.match(refused(await files.upload('ключ.txt', 'x'), 400, 'InvalidKey').message, /Invalid key/)
  refused(await service.storage.from('contract-missing').upload('a.txt', 'x'), 404, 'NoSuchBucket')
})

test('download as blob and as stream, and of what is not there', async () => {
  const files = service.storage.from(await makeBucket())
  const large = Buffer.alloc(3_000_000, 'abc')
  ok(await files.upload('large.bin', large, { contentType: 'application/octet-stream' }))
  const blob = ok(await files.download('large.bin'))
  assert.equal(blob.type, 'application/octet-stream')
  assert.ok(Buffer.from(await blob.arrayBuffer()).equals(large))
  const chunks = []
  for await (const chunk of ok(await files.download('large.bin').asStream())) chunks.push(chunk)
  assert.ok(Buffer.concat(chunks).equals(large))
  let ended = 0
  await files.download('large.bin').finally(() => ended++)
  const { error } = await files.download('none.bin')
  assert.equal(error.status ?? error.originalError?.status, 400)
  assert.equal(ended, 1)
  await service.storage.from('contract-missing').throwOnError().download('x').catch(() => ended++)
  assert.equal(ended, 2)
})

test('exists and info tell a missing object', async () => {
  const files = service.storage.from(await makeBucket())
  ok(await files.upload('a.txt', 'x'))
  assert.equal((await files.exists('a.txt')).data, true)
  assert.equal((await files.exists('b.txt')).data, false)
  refused(await files.info('b.txt'), 404, 'NoSuchKey')
  refused(await service.storage.from('contract-missing').info('b.txt'), 404, 'NoSuchBucket')
})

test('list folds folders, sorts, searches and pages', async () => {
  const files = service.storage.from(await makeBucket())
  for (const path of ['b.txt', 'a.txt', 'dir/x.txt', 'dir/sub/y.txt', 'dir/sub/z.txt', 'other/q.txt']) {
    ok(await files.upload(path, path))
  }
  const names = async (...args) => ok(await files.list(...args)).map(({ name }) => name)
  const root = ok(await files.list())
  assert.deepEqual(root.map(({ name }) => name), ['a.txt', 'b.txt', 'dir', 'other'])
  assert.equal(root[2].id, null)
  assert.equal(root[2].metadata, null)
  assert.equal(root[0].metadata.size, 5)
  assert.equal(root[0].metadata.mimetype, 'text/plain;charset=UTF-8')
  assert.deepEqual(await names('dir'), ['sub', 'x.txt'])
  assert.deepEqual(await names('dir/sub/'), ['y.txt', 'z.txt'])
  assert.deepEqual(await names('dir/sub', { limit: 1, offset: 1 }), ['z.txt'])
  assert.deepEqual(await names('dir/sub', { sortBy: { column: 'name', order: 'desc' } }), ['z.txt', 'y.txt'])
  assert.deepEqual(await names('', { sortBy: { column: 'created_at' } }), ['dir', 'other', 'b.txt', 'a.txt'])
  assert.deepEqual(await names('', { search: 'A' }), ['a.txt'])
  assert.deepEqual(await names('nothing'), [])
})

test('listV2 pages by cursor and folds by delimiter', async () => {
  const files = service.storage.from(await makeBucket())
  const keys = ['a.txt', 'b/1.txt', 'b/2.txt', 'c.txt', 'd/e/f.txt']
  for (const key of keys) ok(await files.upload(key, key))
  for (const sortBy of [undefined, { column: 'name', order: 'desc' }, { column: 'created_at', order: 'asc' }]) {
    const seen = []
    let cursor
    do {
      const page = ok(await files.listV2({ limit: 2, cursor, sortBy }))
      seen.push(...page.objects.map(({ name }) => name))
      assert.equal(page.hasNext, Boolean(page.nextCursor))
      cursor = page.nextCursor
    } while (cursor)
    assert.deepEqual(seen, sortBy?.order === 'desc' ? keys.toReversed() : keys)
  }
  const folded = ok(await files.listV2({ with_delimiter: true }))
  assert.deepEqual(folded.folders.map(({ name }) => name), ['b/', 'd/'])
  assert.deepEqual(folded.objects.map(({ name }) => name), ['a.txt', 'c.txt'])
  const inside = ok(await files.listV2({ with_delimiter: true, prefix: 'b/', limit: 1 }))
  assert.deepEqual([inside.objects[0].name, inside.hasNext], ['b/1.txt', true])
})

test('copy duplicates bytes and metadata, also into another bucket', async () => {
  const [one, two] = [await makeBucket(), await makeBucket()]
  const files = service.storage.from(one)
  ok(await files.upload('a.png', 'bytes', { contentType: 'image/png', metadata: { k: 1 } }))
  assert.equal(ok(await files.copy('a.png', 'b.png')).path, `${one}/b.png`)
  ok(await files.copy('a.png', 'c.png', { destinationBucket: two }))
  ok(await files.remove(['a.png']))
  assert.equal(await read(one, 'b.png'), 'bytes')
  assert.equal(await read(two, 'c.png'), 'bytes')
  const info = ok(await service.storage.from(two).info('c.png'))
  assert.equal(info.contentType, 'image/png')
  assert.deepEqual(info.metadata, { k: 1 })
  const changed = { copyMetadata: false, metadata: { mimetype: 'image/webp', cacheControl: 'no-store' } }
  ok(await files.copy('b.png', 'd.webp', changed))
  const copied = ok(await files.info('d.webp'))
  assert.deepEqual([copied.contentType, copied.cacheControl], ['image/webp', 'no-store'])
  refused(await files.copy('none', 'x'), 404)
  refused(await files.copy('b.png', 'd.webp'), 409)
})

test('move renames, also into another bucket', async () => {
  const [one, two] = [await makeBucket(), await makeBucket()]
  const files = service.storage.from(one)
  const { id } = ok(await files.upload('a.txt', 'bytes'))
  assert.equal(ok(await files.move('a.txt', 'b/c.txt')).message, 'Successfully moved')
  assert.equal(ok(await files.info('b/c.txt')).id, id)
  ok(await files.move('b/c.txt', 'd.txt', { destinationBucket: two }))
  assert.equal(await read(two, 'd.txt'), 'bytes')
  assert.equal((await files.exists('b/c.txt')).data, false)
  refused(await files.move('none', 'x'), 404)
  ok(await files.upload('e.txt', 'e'))
  ok(await files.upload('f.txt', 'f'))
  refused(await files.move('e.txt', 'f.txt'), 409)
})

test('remove answers the rows that went', async () => {
  const files = service.storage.from(await makeBucket())
  for (const path of ['a.txt', 'b/c.txt', 'd.txt']) ok(await files.upload(path, path))
  const removed = ok(await files.remove(['a.txt', 'b/c.txt', 'none.txt']))
  assert.deepEqual(removed.map(({ name }) => name).sort(), ['a.txt', 'b/c.txt'])
  assert.ok(removed[0].id && removed[0].bucket_id && removed[0].metadata)
  assert.deepEqual(ok(await files.list()).map(({ name }) => name), ['d.txt'])
})

test('getPublicUrl works for a public bucket only', async () => {
  const [open, closed] = [await makeBucket({ public: true }), await makeBucket()]
  for (const bucket of [open, closed]) ok(await service.storage.from(bucket).upload('a b/ü.txt'.replace('ü', 'u'), 'x'))
  const url = (bucket, options) => anon.storage.from(bucket).getPublicUrl('a b/u.txt', options).data.publicUrl
  const answer = await fetch(url(open, { download: 'näme.txt' }))
  assert.equal(answer.status, 200)
  assert.equal(
    answer.headers.get('content-disposition'),
    "attachment; filename=n%C3%A4me.txt; filename*=UTF-8''n%C3%A4me.txt;"
  )
  assert.equal((await fetch(url(open, { download: true }))).headers.get('content-disposition'), 'attachment;')
  const hidden = await fetch(url(closed))
  assert.equal(hidden.status, 400)
  assert.deepEqual((await hidden.json()).statusCode, '404')
  assert.equal(await text(ok(await anon.storage.from(open).download('a b/u.txt'))), 'x')
})

test('image transformation is a feature that is off', async () => {
  const bucket = await makeBucket({ public: true })
  const files = service.storage.from(bucket)
  ok(await files.upload('a.png', 'x', { contentType: 'image/png' }))
  const transform = { width: 10, height: 10, resize: 'cover', quality: 50, format: 'origin' }
  const answer = await fetch(files.getPublicUrl('a.png', { transform }).data.publicUrl)
  assert.equal(answer.status, 403)
  assert.equal((await answer.json()).error, 'FeatureNotEnabled')
  assert.ok((await files.download('a.png', { transform })).error)
  assert.ok((await files.createSignedUrl('a.png', 60, { transform })).error)
})

test('throwOnError and setHeader of the client', async () => {
  const bucket = await makeBucket()
  const files = service.storage.from(bucket).setHeader('x-upsert', 'true').throwOnError()
  await files.copy('none', 'x').then(
    () => assert.fail('did not throw'),
    (error) => assert.equal(error.code, 'NoSuchKey')
  )
})
