# Secrets and tokens on their way to a server and back: they arrive, and are nowhere to be seen: not in tables, activity, log or errors.
# Bodies into files and headers of answers beside them.  By background workers and by CALL sync_work().
use strict;
use warnings;
use Digest::SHA qw(sha256_hex);
use File::stat;
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);
use ProductSync::Cluster;

# A server that gives tokens and wants them back.
package TokenServer;
use parent 'ProductSync::Server';
sub start
{
	my ($class, $secret) = @_;
	my $dir = $ENV{TESTDATADIR} // '/tmp';
	my $self = bless { name => 'token server', log => "$dir/tokens-$$.log" }, $class;
	open my $out, '>', "$dir/tokens-$$.js" or die $!;
	print $out <<'JS';
const http = require('http'), zlib = require('zlib');
const secret = process.argv[2];
let issued = 0, token = 'none', log = [];
const file = Buffer.alloc(3000000, 'line of a file\n');
http.createServer((request, response) => {
	let body = '';
	request.on('data', piece => body += piece).on('end', () => {
		const path = request.url, sent = request.headers['x-access-token'];
		const answer = (status, text, headers) => { response.writeHead(status, headers || {}); response.end(text); };
		if (path == '/_log') return answer(200, JSON.stringify(log));
		if (path == '/_token') return answer(200, JSON.stringify(token));
		log.push([request.method, path, request.headers.range || '', request.headers.authorization || '', request.headers['accept-encoding'] || '']);
		if (path == '/token') {
			const form = new URLSearchParams(body);
			if (form.get('client_secret') !== secret || form.get('grant_type') !== 'client_credentials' || form.get('client_id') !== 'app')
				return answer(400, JSON.stringify({ error: 'invalid_client', told: form.get('client_secret') }));
			token = 'shpat_t0ken_' + (++issued);
			return answer(200, JSON.stringify({ access_token: token, scope: 'read_products', expires_in: 86399 }));
		}
		if (path == '/no-token') return answer(200, '{"error": "none today"}');
		if (path == '/not-json') return answer(200, 'access_token=' + token);
		if (path == '/api' || path == '/slow')
			return setTimeout(() => sent === token ? answer(200, '{"data": 1}', { 'X-API-Version': '2026-10', 'X-Request-Id': 'a\u00e9b', 'X-Told': sent })
				: answer(401, JSON.stringify({ errors: 'wrong token ' + sent })), path == '/slow' ? 1500 : 0);
		if (path == '/gzip') return answer(200, zlib.gzipSync('unpacked '.repeat(1000)), { 'Content-Encoding': 'gzip' });
		if (path == '/redirect') return answer(302, '', { Location: '/api' });
		if (path == '/file') {
			const from = Number((/^bytes=(\d+)-/.exec(request.headers.range || '') || [0, 0])[1]);
			return answer(from ? 206 : 200, file.subarray(from), from ? { 'Content-Range': `bytes ${from}-${file.length - 1}/${file.length}` } : {});
		}
		if (path == '/expired') return answer(403, '<Error>expired</Error>');
		answer(404, 'nothing here');
	});
}).listen(0, '127.0.0.1', function () { console.log(JSON.stringify({ port: this.address().port })); });
JS
	close $out;
	$self->spawn('node', "$dir/tokens-$$.js", $secret);
	$self->{port} = $self->await('port', sub { $self->output =~ /"port":(\d+)/ && $1 });
	return $self;
}

package main;

my $secret = 'c1ient s&cret+%';
my $server = TokenServer->start($secret);
my $node = ProductSync::Cluster->start_new('main', conf => "log_min_messages = debug5\nlog_statement = all\nlog_min_duration_statement = 0");
my $json = JSON::PP->new->canonical->allow_nonref;
my @seen;    # tokens that were given

# A kind of job whose payload is its request, and a table of what came.  The second database has no workers.
my $probe = <<'SQL';
INSERT INTO sync.job_kind (kind, network, class, batch, max_attempts, description) VALUES ('probe', true, 1, 4, 2, 'a request of the test');
CREATE TABLE sync.probe_answer (job_id bigint PRIMARY KEY, result jsonb, body text);
ALTER TABLE sync.probe_answer OWNER TO sync_worker;
CREATE FUNCTION sync.request_probe(job_ids bigint[]) RETURNS TABLE (job_id bigint, request jsonb) LANGUAGE sql AS
	'SELECT id, payload FROM sync.job WHERE id = ANY (job_ids)';
CREATE FUNCTION sync.response_probe(job_ids bigint[], results jsonb[], bodies bytea[])
RETURNS TABLE (job_id bigint, outcome text, retry_in interval, error jsonb, counts jsonb) LANGUAGE sql AS $$
	INSERT INTO sync.probe_answer SELECT i, r, pg_catalog.convert_from(b, 'UTF8') FROM unnest(job_ids, results, bodies) u (i, r, b);
	SELECT i, 'done', NULL::interval, NULL::jsonb, '{}'::jsonb FROM pg_catalog.unnest(job_ids) i
$$;
SQL
$node->safe_psql('postgres', $probe);

# Sends a request and returns (result, body), or the error that ended it.  sub ($url_path, %keys)
sub ask
{
	my ($path, %request) = @_;
	%request = (op => 'http', url => 'http://127.0.0.1:' . $server->port . $path, %request);
	my $text = $json->encode(\%request);
	my $job = $node->value("SELECT sync.job_enqueue('probe', NULL, \$j\$$text\$j\$)");
	$node->safe_psql($node->database, "CALL sync_work('20 seconds')") if $node->database ne 'postgres';
	my $answer = '';
	for (my $end = time + 30; time < $end && $answer eq ''; sleep 0.02)
	{
		$answer = $node->value("SELECT json_build_object('result', result, 'body', body) FROM sync.probe_answer WHERE job_id = $job UNION ALL SELECT json_build_object('error', error) FROM sync.dead_letter WHERE job_id = $job");
	}
	$answer = $json->decode($answer eq '' ? '{"error": {"message": "no answer in time"}}' : $answer);
	return $answer->{error} ? ($answer->{error}, undef) : ($answer->{result}, $answer->{body});
}

my %grant = (method => 'POST', headers => { 'Content-Type' => 'application/x-www-form-urlencoded' },
	body => 'grant_type=client_credentials&client_id=app', form_secret => 'client_secret', secret_ref => 'file:shop',
	keep_secret => { name => 'shop-main', field => 'access_token' });
my %call = (secret_header => 'X-Access-Token', secret_ref => 'token:shop-main', want_headers => [ 'X-API-Version', 'x-request-id', 'X-Told', 'X-Absent' ]);

# From the grant to the use, in whichever way the jobs are worked on.
sub tokens_ok
{
	my ($how) = @_;
	my $oid = $node->value('SELECT oid FROM pg_database WHERE datname = current_database()');
	my $folder = $node->data_dir . "/product_sync/secrets/tokens-$oid";

	is($node->value("SELECT sync.token_present('shop-main')"), 'f', "$how: there is no token at first");
	my ($error) = ask('/api', %call);
	is($error->{sqlstate}, '42704', "$how: a request with a token that is not there fails at once, and says what is missing");
	like($error->{message}, qr/no token "shop-main"|tokens-\d+\/shop-main/, "$how: by name");

	my ($result, $body) = ask('/token', %grant);
	push @seen, $server->ask('/_token');
	is_deeply([ $result->{ok}, $result->{kept} ], [ JSON::PP::true, JSON::PP::true ], "$how: the secret arrives, the token is kept");
	is($body, '{"scope":"read_products","expires_in":86399}', "$how: SQL sees the rest of the answer");
	is($node->value("SELECT sync.token_present('shop-main')"), 't', "$how: SQL knows that there is one");
	is(slurp_file("$folder/shop-main"), $seen[-1], "$how: it is in its file");
	is(sprintf('%o %o', stat("$folder/shop-main")->mode & 07777, stat($folder)->mode & 07777), '600 700', "$how: which is private, and its folder");

	($result, $body) = ask('/api', %call);
	is($result->{status}, 200, "$how: the token is sent");
	is_deeply($result->{headers}, { 'x-api-version' => '2026-10', 'x-request-id' => 'a?b', 'x-told' => '*' x length $seen[-1] },
		"$how: the wanted headers come, and those that tell the token are blotted");

	ask('/token', %grant);
	push @seen, $server->ask('/_token');
	is(slurp_file("$folder/shop-main"), $seen[-1], "$how: the next grant replaces it");
	open my $out, '>', "$folder/shop-main";
	print $out 'shpat_t0ken_old_one';
	close $out;
	push @seen, 'shpat_t0ken_old_one';
	($result, $body) = ask('/api', %call);
	is($body, '{"errors":"wrong token *******************"}', "$how: a refusal that repeats the token does not tell it");

	is($node->value("SELECT sync.token_drop('shop-main')") . $node->value("SELECT sync.token_drop('shop-main')"), 'tf', "$how: a token can be dropped, once");
	is($node->value("SELECT sync.token_present('shop-main')"), 'f', "$how: and is gone");
	opendir(my $dir, $folder);
	is(join(' ', grep { !/^\.\.?$/ } readdir $dir), '', "$how: nothing is left in the folder");
}

$node->secret('shop', $secret);
tokens_ok('workers');
$node->safe_psql('postgres', 'CREATE DATABASE other');
$node->database('other');
$node->safe_psql('other', 'CREATE EXTENSION product_sync; SELECT sync_install();');
$node->safe_psql('other', $probe);
tokens_ok('sync_work');
$node->database('postgres');

# Answers that hold no token.
my ($result, $body) = ask('/no-token', %grant);
is($json->encode([ $result->{ok}, $result->{kept}, $result->{message}, $body ]), '[true,false,"the answer has no \"access_token\"","{\"error\": \"none today\"}"]',
	'an answer without a token comes as it is');
($result, $body) = ask('/not-json', %grant);
is($json->encode([ $result->{kept}, $body ]), '[false,null]', 'what is no JSON is dropped: the token may be anywhere in it');
$node->secret('shop', 'wr0ng-secret');
($result, $body) = ask('/token', %grant);
is($json->encode([ $result->{kept}, $result->{status}, $body ]), '[false,400,"{\"error\":\"invalid_client\",\"told\":\"************\"}"]',
	'a wrong secret is refused, and not told');
$node->secret('shop', $secret);

# While a request is under way.
ask('/token', %grant);
push @seen, $server->ask('/_token');
my $slow = $json->encode({ op => 'http', url => 'http://127.0.0.1:' . $server->port . '/slow', %call });
$node->safe_psql('postgres', "SELECT sync.job_enqueue('probe', NULL, \$j\$$slow\$j\$)");
my $activity = '';
for (1 .. 20)
{
	$activity .= $node->value('SELECT string_agg(a::text, E\'\n\') FROM pg_stat_activity a');
	sleep 0.1;
}
is(scalar(grep { index($activity, $_) >= 0 } @seen), 0, 'pg_stat_activity does not show a token');

# Bodies into files.
my $oid = $node->value('SELECT oid FROM pg_database WHERE datname = current_database()');
my $path = $node->data_dir . "/product_sync/$oid/probe.jsonl";
my $content = substr("line of a file\n" x 200000, 0, 3000000);
($result, $body) = ask('/file', file => 'probe.jsonl', max_bytes => 4000000);
is($json->encode([ @$result{qw(ok bytes)}, $body ]), '[true,3000000,null]', 'a body goes into a file');
is(sha256_hex(slurp_file($path)), sha256_hex($content), 'whole');
is(sprintf('%o', stat($path)->mode & 07777), '600', 'which is private');
truncate $path, 1234567;
($result, $body) = ask('/file', file => 'probe.jsonl', max_bytes => 4000000, resume_from => 1234567);
is($json->encode([ @$result{qw(ok status bytes)} ]), '[true,206,' . (3000000 - 1234567) . ']', 'it goes on where it stopped');
is(sha256_hex(slurp_file($path)), sha256_hex($content), 'to the same end');
($result, $body) = ask('/file', file => 'probe.jsonl', max_bytes => 1000000);
is($json->encode([ @$result{qw(ok class curl_code)} ]), '[false,"permanent",63]', 'more than max_bytes is cut off');
cmp_ok(-s $path, '<=', 1000000, 'and not on the disk');
($result, $body) = ask('/expired', file => 'probe.jsonl', max_bytes => 1000000);
is($json->encode([ @$result{qw(ok status)}, $body, -s $path ]), '[false,403,"<Error>expired</Error>",0]', 'a refusal is not taken for the file');
($result, $body) = ask('/gzip');
is($body, 'unpacked ' x 1000, 'other bodies may come packed');
($result, $body) = ask('/redirect');
is($json->encode([ @$result{qw(ok class status)} ]), '[false,"permanent",302]', 'a redirect is not followed');
my ($asked) = grep { $_->[1] eq '/file' } @{ $server->ask('/_log') };
is($asked->[4], '', 'a file is asked for unpacked');
is(scalar(grep { $_->[3] ne '' } @{ $server->ask('/_log') }), 0, 'a secret in a header or a form is no login besides');

# Requests that are wrong, each with the word that says why.
my @wrong = (
	[ { file => 'probe.jsonl' }, 'max_bytes' ],
	[ { file => '../probe', max_bytes => 1 }, 'not the name of a spool file' ],
	[ { resume_from => 5 }, 'resumed' ],
	[ { secret_header => 'X' }, 'no secret' ],
	[ { secret_header => "X: y\r\nZ", secret_ref => 'file:shop' }, 'not the name of a header' ],
	[ { secret_header => 'X', secret_ref => 'file:shop', username => 'u' }, 'without a user name' ],
	[ { form_secret => 'x', secret_ref => 'file:shop' }, 'body' ],
	[ { keep_secret => {} }, 'keep_secret' ],
	[ { keep_secret => { name => '../x', field => 'y' } }, 'keep_secret' ],
	[ { keep_secret => { name => 'x', field => 'y', more => 'z' } }, 'keep_secret' ],
	[ { keep_secret => 'x' }, 'keep_secret' ],
	[ { keep_secret => { name => 'x', field => 'y' }, file => 'f', max_bytes => 1 }, 'without a file' ],
	[ { want_headers => 'x' }, 'array' ],
	[ { want_headers => [1] }, 'string' ],
	[ { want_headers => [ map { "x$_" } 1 .. 40 ] }, 'more than 32' ],
	[ { secret_ref => 'token:../../shop', secret_header => 'X' }, 'not the name of a token' ],
	[ { secret_ref => 'token:', secret_header => 'X' }, 'not the name of a token' ]);
for my $case (@wrong)
{
	my ($error) = ask('/api', %{ $case->[0] });
	like($error->{message} // 'it was sent', qr/\Q$case->[1]\E/, 'refused: ' . $json->encode($case->[0]));
}
for my $name ("'../x'", "''", "'.x'", "repeat('x', 64)")
{
	my ($rc, $out, $err) = $node->psql('postgres', "SELECT sync.token_present($name)", extra_params => [ '-v', 'VERBOSITY=verbose' ]);
	like($err, qr/42602/, "token_present($name) is refused");
}
is($node->value('SELECT sync.token_present(NULL) IS NULL'), 't', 'no name, no answer');
my ($rc, $out, $err) = $node->psql('postgres', "INSERT INTO sync.connection (name, kind, base_url, secret_ref) VALUES ('x', 'shopify', 'http://127.0.0.1/', 'token:shop-main')");
like($err, qr/secret_ref of connection "x" does not say where/, 'a connection cannot name a token');
is($node->value("SELECT count(*) FROM pg_roles r WHERE r.rolname LIKE 'sync\\_%' AND r.rolname <> 'sync_worker' AND has_function_privilege(r.oid, 'sync.token_drop(text)', 'EXECUTE')"),
	'0', 'people have no business with tokens');

# A folder that is not private is not used.
my $tokens = $node->data_dir . "/product_sync/secrets/tokens-$oid";
chmod 0755, $tokens;
my ($error) = ask('/api', %call);
like($error->{message}, qr/not a private folder/, 'a folder of tokens that others may enter is refused');
($error) = ask('/token', %grant);
like($error->{message}, qr/not a private folder/, 'before a token is asked for, too');
chmod 0700, $tokens;

# Nowhere to be seen.
my $dump = '';
for my $database ('postgres', 'other')
{
	my $file = ($ENV{TESTDATADIR} // '/tmp') . "/dump-$$-$database.sql";
	$node->command_ok([ 'pg_dump', '-f', $file, $database ], "dump of $database");
	$dump .= slurp_file($file);
	$dump .= $node->safe_psql($database, 'SELECT j::text FROM sync.job_history j UNION ALL SELECT d::text FROM sync.dead_letter d UNION ALL SELECT a::text FROM sync.probe_answer a');
}
my $log = slurp_file($node->logfile);
cmp_ok(scalar @seen, '>=', 6, scalar(@seen) . ' tokens were given');
for my $hidden ($secret, 'c1ient%20s%26cret%2B%25', 'wr0ng-secret', @seen)
{
	ok(index($dump, $hidden) < 0, "in no table: $hidden");
	ok(index($log, $hidden) < 0, "in no line of the log: $hidden");
}

$node->stop;
done_testing();
