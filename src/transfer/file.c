/*
 * file.c
 *	  What arrives into a local file, as it arrives: what was written stays, and the next attempt goes on behind it.
 */
#include "transfer/internal.h"

#include <errno.h>
#include <unistd.h>

/* Writes a piece whole, within the cap.  Returns its length; 0, which makes curl stop, where that cannot be: the transfer knows why. */
size_t
file_write(Transfer *transfer, const char *data, size_t len)
{
	size_t		written = 0;

	transfer->active_ms = transfer_now_ms();
	if (transfer->max_bytes > 0 && transfer->resume_from + transfer->result->bytes + (int64_t) len > transfer->max_bytes)
	{
		transfer->too_large = true;
		return 0;
	}
	while (written < len)
	{
		ssize_t		n = write(transfer->file_fd, data + written, len - written);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
		{
			transfer->write_errno = n < 0 ? errno : ENOSPC;
			return 0;
		}
		written += n;
		transfer->result->bytes += n;
	}
	/* The disk may be slow, which is not the server's fault. */
	transfer->active_ms = transfer_now_ms();
	return len;
}
